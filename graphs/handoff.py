"""Handoff: agents pass the conversation to whoever should have it, and whoever has it answers.

    begin -> agent -> finish
               |  ^
               v  |       (by transfer tools, to exactly those it may hand over to;
             agent         an agent's own tools run in act, by way of gate where one cannot be undone)

Use it when the right expert shows only as the conversation goes on. The next user message goes to the
agent that had control. A person may be one of the agents: bind(agent, PERSON).
Cost: 1 model call a turn of an agent, at most `max_turns`, and 1 for each summary that goes along.
Source: OpenAI, Swarm (2024).
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from langgraph.graph import END, START, StateGraph

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.agent import Bound
from nodes.handoff import STEPS_PER_TURN, Seat, act, gate, hold, may_hand_over, onward, seated, summarize
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent, Text
from state.context import Context
from state.cost import NONE, either
from state.errors import ContractError
from state.handoff import Control, Filter, Rules, Shown, State, allowed, is_transfer
from state.turn import Given
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES

TAKEN = ("begin", "act", "gate", "finish")


def build(
    agents: Sequence[Bindable],
    *,
    hands_to: Mapping[str, Sequence[str]] | None = None,
    fallback: str | None = None,
    context: Literal["full"] | Agent | Bound | Filter = "full",
    control: Control = "stays",
    max_handoffs: int = 10,
    max_turns: int = 30,
    cycles: int | None = 2,
) -> Graph:
    """The agents, of whom the first begins; each gets a tool `transfer_to_<name>` for each it may hand over to.

    `hands_to` says to whom, in that order (everybody to everybody, by default). A round of handovers made
    `cycles` times in a row (None: as often as one likes), or more than `max_handoffs` in a turn, leads to
    `fallback`, the name of one of the agents, and nobody hands over any more; without one, whoever has
    control must answer. `context` is what goes along: all that was said, what an agent makes of it, or
    what a filter leaves; what the user said always does. `control` says who has the next turn. `max_turns`
    bounds the steps of all agents in one turn. Raises ContractError for what cannot work.
    """
    team = [bind(agent) for agent in agents]
    aide = bind(context) if isinstance(context, Agent | Bound) else None
    summary = aide.agent.name if aide else ""
    names = distinct("handoff", team, taken=(*TAKEN, summary))
    _check(team, hands_to, fallback, aide, context, cycles)
    if control not in get_args(Control):
        raise ContractError(f"handoff: `control` is {control!r}; it is one of {', '.join(get_args(Control))}")
    for name, bound in (("max_handoffs", max_handoffs), ("max_turns", max_turns)):
        if bound < 1:
            raise ContractError(f"handoff: `{name}` must be at least 1, not {bound}")
    rules = Rules(
        names=names,
        start=names[0],
        fallback=fallback or "",
        control=control,
        max_handoffs=max_handoffs,
        max_turns=max_turns,
        cycles=cycles,
        choose=None if aide or isinstance(context, str) else context,  # type: ignore[arg-type]  # a filter is left
    )
    seats = _seats(team, allowed(names, hands_to))
    tools = {name: seat.tools for name, seat in seats.items() if seat.tools}

    async def after_begin(state: State) -> str:
        return rules.begins(state.get("holder"))

    async def after_step(state: State) -> str:
        return onward(state, tools, summary)

    async def after_summary(state: State) -> str:
        return "finish" if state.get("outcome") else state["holder"]

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
    wiring.add_node("begin", begin(State))
    for name, seat in seats.items():
        wiring.add_node(name, hold(seat, rules), metadata={"agent": name})
        wiring.add_conditional_edges(name, after_step, [*_ways(seat, fallback, summary), *_helps(seat), "finish"])
    gated = any("gate" in _helps(seat) for seat in seats.values())
    if tools:
        back = [way for name in tools for way in (name, *_ways(seats[name], fallback, summary))]
        wiring.add_node("act", act({name: seats[name] for name in tools}, rules))
        wiring.add_conditional_edges("act", after_step, [*dict.fromkeys(back), *(["gate"] if gated else [])])
    if gated:
        wiring.add_node("gate", gate({name: seats[name] for name in tools})).add_edge("gate", "act")
    if aide:
        wiring.add_node(summary, summarize(aide), metadata={"agent": summary})
        wiring.add_conditional_edges(summary, after_summary, [*names, "finish"])
    (
        wiring.add_node("finish", finish())
        .add_edge(START, "begin")
        .add_conditional_edges("begin", after_begin, names)
        .add_edge("finish", END)
    )
    steps = either(seat.bound.calls for seat in seats.values()).times(1, max_turns)
    return compiled(
        wiring,
        name="handoff",
        agents=[*team, *([aide] if aide else [])],
        steps=2 + STEPS_PER_TURN * (max_turns + 2),
        calls=steps + (aide.calls if aide else NONE).times(0, min(max_handoffs + 1, max_turns)),
    )


def _seats(team: list[Bound], targets: Mapping[str, Sequence[str]]) -> dict[str, Seat]:
    does = {bound.agent.name: bound.agent.responsibility for bound in team}
    may = {b.agent.name: targets[b.agent.name] if may_hand_over(b) else () for b in team}
    return {b.agent.name: seated(b, {to: does[to] for to in may[b.agent.name]}) for b in team}


def _ways(seat: Seat, fallback: str | None, summary: str) -> list[str]:
    """To whom a step of an agent may lead, itself included where a transfer may be refused."""
    if not seat.targets:
        return []
    me = seat.bound.agent.name
    others = [name for name in dict.fromkeys([*seat.targets, *([fallback] if fallback else [])]) if name != me]
    return [*([summary] if summary else others), me]


def _helps(seat: Seat) -> list[str]:
    """The nodes where an agent's own tools run, where it has any."""
    asks = any(tool.effects == "irreversible" for tool in seat.tools)
    return [*(["gate"] if asks else []), *(["act"] if seat.tools else [])]


def _check(
    team: list[Bound],
    hands_to: Mapping[str, Sequence[str]] | None,
    fallback: str | None,
    aide: Bound | None,
    context: object,
    cycles: int | None,
) -> None:
    names = [bound.agent.name for bound in team]
    if not team:
        raise ContractError("handoff: `agents` is empty; give at least one")
    take_tasks("handoff", [*team, *([aide] if aide else [])])
    if fallback is not None and fallback not in names:
        raise ContractError(f"handoff: `fallback` is {fallback!r}, which is no agent; it is one of {names}")
    if cycles is not None and cycles < 2:
        raise ContractError(
            f"handoff: `cycles` must be at least 2, or None, not {cycles}: to go back once is no circle"
        )
    if aide is None and context != "full" and not callable(context):
        raise ContractError(f"handoff: `context` is {context!r}; give 'full', an agent that summarizes, or a function")
    if aide is not None and aide.agent.output is not Text:
        raise ContractError(f"handoff: {aide.agent.name!r} must return a Text to summarize; leave its output out")
    for bound in team:
        for tool in filter(is_transfer, ({"name": t.name} for t in bound.agent.tools)):
            raise ContractError(
                f"handoff: {bound.agent.name!r} has a tool {tool['name']!r}, which would be taken for a transfer; "
                "rename the tool"
            )
        if (hands_to or {}).get(bound.agent.name) and not may_hand_over(bound):
            raise ContractError(
                f"handoff: {bound.agent.name!r} is answered for by a graph or a function that returns "
                f"{bound.agent.output.__name__}, so it cannot hand over; set output=Said, or output=Transfer"
            )


graph = build(
    [
        Agent(
            name="reader",
            responsibility="Answers from the documents, with their sources.",
            tools=(SEARCH, READ),
        ),
        Agent(
            name="tables",
            responsibility="Answers from tables and computes figures.",
            tools=(SEARCH, TABLES, QUERY, CALCULATE),
        ),
    ]
)
