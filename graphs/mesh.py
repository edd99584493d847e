"""Mesh: peers send each other messages, and nobody stands in the middle.

    begin -> deliver -> peer, peer, ... -> deliver -> finish
                ^  \\
                |   v
               decide       (a person breaks loops and deadlocks, with `ask=True`)

The task enters at one peer. Each peer reads its mailbox and says what it has to say: messages to peers
that it knows, or an answer, which goes to whoever asked it. A peer whose output is no Said only
answers. Messages come in order per sender and once; the turn ends with the entry peer's answer, when
a goal holds, or when nothing is in flight. `deliver` is the post, and knows of no task.

Use it when no one may be in the middle, or when everybody knows only their neighbours.
Cost: 1 model call for each time a peer reads its mailbox, at most max_messages + 1.
Source: Hewitt, Bishop and Steiger, A universal modular ACTOR formalism (1973). To spread news instead,
see graphs/gossip.py.
"""

from collections.abc import Collection, Mapping, Sequence

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.agent import Bound
from nodes.mesh import decide, deliver, peer, route
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent
from state.context import Context
from state.cost import Calls, either
from state.delivery import STEPS_PER_ROUND
from state.errors import ContractError
from state.mesh import HOUSE, NOTES, USER, Goal, Net, Said, Shown, State, everybody, reachable, schemas_of
from state.turn import Given
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES

ROLES = ("begin", "deliver", "spread", "decide", "conclude", "finish", USER, HOUSE)


def build(
    peers: Sequence[Bindable],
    *,
    knows: Mapping[str, Sequence[str]] | None = None,
    entry: str | None = None,
    max_messages: int = 64,
    max_hops: int = 12,
    max_laps: int = 3,
    priority: Mapping[str, int] | None = None,
    ask: bool = False,
    goal: Goal | None = None,
    schemas: Mapping[str, type[BaseModel]] | None = None,
    keys: Mapping[str, bytes] | None = None,
) -> Graph:
    """The peers, who knows whom (everybody, by default), and where the task enters (the first).

    `max_messages` bounds a turn, `max_hops` a chain of messages. A chain that goes round the same peers
    `max_laps` times, or repeats an exchange word by word, is a feedback loop. Loops and deadlocks are
    broken by the peer of the lowest `priority` (0, by default), who gives up; with `ask`, a person says
    who. `goal` ends the turn when it holds. `schemas` says what the `data` of messages of a kind must be.
    With `keys`, of every peer and of "user" and "mesh", all envelopes are signed. Raises ContractError for
    what cannot work.
    """
    team, names = team_of(peers)
    net = Net(
        peers=tuple(names),
        knows=topology(names, knows),
        entry=names[0] if entry is None else entry,
        max_hops=max_hops,
        max_messages=max_messages,
        max_laps=max_laps,
        priority=priority or {},
        ask=ask,
        goal=goal,
        schemas=schemas_of(schemas or {}),
        keys=keys,
    )
    check(net, schemas or ())
    bound = dict(zip(names, team, strict=True))

    async def after_deliver(state: State) -> list[Send] | str:
        return route(state)

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
    for name in names:
        wiring.add_node(name, peer(bound[name], [bound[other] for other in net.knows[name]]), metadata={"agent": name})
        wiring.add_edge(name, "deliver")
    (
        wiring.add_node("begin", begin(State))
        .add_node("deliver", deliver(net))
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "deliver")
        .add_conditional_edges("deliver", after_deliver, [*names, *(["decide"] if ask else []), "finish"])
        .add_edge("finish", END)
    )
    if ask:
        wiring.add_node("decide", decide()).add_edge("decide", "deliver")
    readings = max_messages + 1
    most = either(b.calls for b in team).times(0, readings).most
    least = bound[net.entry].calls.least
    return compiled(
        wiring,
        name="mesh",
        agents=team,
        steps=STEPS_PER_ROUND * (readings + 1),
        calls=Calls(least, most),
    )


def team_of(peers: Sequence[Bindable]) -> tuple[list[Bound], list[str]]:
    """The peers and their names. Raises ContractError for none, equal names, or inputs of their own."""
    team = [bind(one) for one in peers]
    if not team:
        raise ContractError("mesh: `peers` is empty; give at least one")
    take_tasks("mesh", team)
    return team, distinct("mesh", team, taken=ROLES)


def topology(names: Sequence[str], knows: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    """Who knows whom, for every peer. Raises ContractError for somebody who is no peer."""
    if knows is None:
        return everybody(names)
    for name, others in knows.items():
        for other in (name, *others):
            if other not in names:
                raise ContractError(f"mesh: `knows` names {other!r}, who is no peer; known are {', '.join(names)}")
        if name in others:
            raise ContractError(f"mesh: in `knows`, {name!r} knows itself; a peer writes to others only")
    return {name: [*dict.fromkeys(knows.get(name, ()))] for name in names}


def check(net: Net, data: Collection[str] = ()) -> None:
    """Refuse options that cannot work. Raises ContractError."""
    if net.entry not in net.peers:
        raise ContractError(f"mesh: `entry` is {net.entry!r}, who is no peer; take one of {', '.join(net.peers)}")
    for name, value, least in (
        ("max_messages", net.max_messages, 1),
        ("max_hops", net.max_hops, 1),
        ("max_laps", net.max_laps, 2),
    ):
        if value < least:
            raise ContractError(f"mesh: `{name}` must be at least {least}, not {value}")
    if lost := sorted(set(net.peers) - reachable(net.knows, net.entry)):
        raise ContractError(f"mesh: nobody on the way from {net.entry!r} knows {lost[0]!r}; add it to `knows`")
    if other := sorted(set(data) - set(NOTES)):
        raise ContractError(f"mesh: `schemas` names {other[0]!r}; only {', '.join(NOTES)} take data of your own")
    if strangers := sorted(set(net.priority) - set(net.peers)):
        raise ContractError(f"mesh: `priority` names {strangers[0]!r}, who is no peer")
    if net.keys is not None and (missing := sorted({*net.peers, USER, HOUSE} - set(net.keys))):
        raise ContractError(f"mesh: `keys` has none for {missing[0]!r}; give one for every peer, and for user and mesh")


graph = build(
    [
        Agent(name="host", responsibility="Asks its peers, and answers from what they say.", output=Said),
        Agent(
            name="facts",
            responsibility="Answers from documents with what is known for certain, and with its sources.",
            tools=(SEARCH, READ, TABLES, QUERY, CALCULATE),
        ),
        Agent(
            name="doubts",
            responsibility="Answers from documents with what speaks against the obvious answer.",
            tools=(SEARCH, READ, TABLES, QUERY, CALCULATE),
        ),
    ]
)
