"""Gossip, a mode of the mesh: news spreads from peer to peer until everybody has heard everything.

    begin -> spread -> peer, peer, ... -> spread -> conclude -> finish
               ^ |
               +-+         (a round in which nobody hears of the task for the first time)

The task is the first news, at the entry peer. Who hears of it says what it has to say, which is news
too. In every round each peer tells all it has heard to a few others at random.

Use it when many peers shall know the same, and none may be needed for it. Cost: peers + 1 model calls;
1 for a single peer. Source: Demers et al., Epidemic algorithms for replicated database maintenance (1987).
"""

from collections.abc import Mapping, Sequence

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from graphs.bind import Bindable
from graphs.compile import compiled
from graphs.mesh import check, team_of, topology
from nodes.gossip import conclude, peer, route, tell
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.context import Context
from state.cost import total
from state.errors import ContractError
from state.gossip import Shown, State, enough
from state.mesh import Net, Said
from state.turn import Given


def build(
    peers: Sequence[Bindable],
    *,
    knows: Mapping[str, Sequence[str]] | None = None,
    entry: str | None = None,
    fanout: int = 2,
    max_rounds: int | None = None,
) -> Graph:
    """The peers, who knows whom (everybody, by default), and where the task enters (the first).

    Each peer tells `fanout` others in a round, seeded by the run. When everybody has heard everything, or
    after `max_rounds` (about four times log2 n + ln n, by default), the entry peer answers, with all the
    news that reached it. Raises ContractError for what cannot work.
    """
    team, names = team_of(peers)
    net = Net(peers=tuple(names), knows=topology(names, knows), entry=names[0] if entry is None else entry)
    check(net)
    if fanout < 1:
        raise ContractError(f"mesh: `fanout` must be at least 1, not {fanout}")
    if any(b.agent.output is Said for b in team):
        raise ContractError("mesh: who gossips writes no messages of its own; set another output than Said")
    rounds = enough(len(names)) if max_rounds is None else max_rounds
    if rounds < 1:
        raise ContractError(f"mesh: `max_rounds` must be at least 1, not {rounds}")
    bound = dict(zip(names, team, strict=True))
    first = bound[net.entry]

    async def after_spread(state: State) -> list[Send] | str:
        return route(state)

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
    for name in names:
        wiring.add_node(name, peer(bound[name]), metadata={"agent": name})
        wiring.add_edge(name, "spread")
    (
        wiring.add_node("begin", begin(State))
        .add_node("spread", tell(net, fanout=fanout, max_rounds=rounds))
        .add_node("conclude", conclude(first), metadata={"agent": net.entry})
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "spread")
        .add_conditional_edges("spread", after_spread, [*names, "spread", "conclude", "finish"])
        .add_edge("conclude", "finish")
        .add_edge("finish", END)
    )
    return compiled(
        wiring,
        name="mesh",
        agents=team,
        steps=2 * rounds + 6,
        calls=total(b.calls for b in team) + first.calls.times(0 if len(names) == 1 else 1, 1),
    )
