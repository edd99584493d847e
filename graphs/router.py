"""Router: one classification, then the specialist it names, or several at once.

    begin -> classify <-> clarify                 (a person, where the choice is not sure)
                |
                +--> specialist, specialist, ... --> join -> finish
                +--> fallback ---------------------> join

Below the confidence `floor` the user is asked what they mean (`clarify`), or the `fallback` answers; with
neither, the question is the turn's answer, and the user's next message on the thread is classified anew.
With `several`, whoever is named works at the same time, and the answers are joined under their names,
or by a `synthesizer`.

Use it when requests are of a few kinds, each with its expert. The cheap case of a handoff: the choice is
made once, before anybody works. Cost: 1 + specialists model calls, at most
2 x (1 + max_repairs) + specialists + 1. Source: Anthropic, Building effective agents (2024), "routing".
"""

from collections.abc import Sequence

from langgraph.graph import END, START, StateGraph

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.router import clarify as ask_back
from nodes.router import classify, join, specialist, synthesize
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent
from state.context import Context
from state.cost import either, total
from state.errors import ContractError
from state.router import Route, Shown, State
from state.turn import Given
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES


def build(
    classifier: Bindable,
    specialists: Sequence[Bindable],
    *,
    fallback: Bindable | None = None,
    floor: float = 0.5,
    clarify: bool = False,
    several: bool = False,
    synthesizer: Bindable | None = None,
    max_repairs: int = 2,
) -> Graph:
    """A classifier (output Route), the specialists it may name, and who answers where it is not sure.

    `floor` is the least confidence, 0 to 1; `max_repairs` how often a name that nobody has is sent back
    before the fallback gets the task, or the turn fails. Raises ContractError for a classifier with
    another output, no specialists, equal names, a synthesizer without `several`, or bounds out of range.
    """
    clerk, experts = bind(classifier), [bind(s) for s in specialists]
    spare, writer = ([bind(a)] if a is not None else [] for a in (fallback, synthesizer))
    if clerk.agent.output is not Route:
        raise ContractError(f"router: the classifier {clerk.agent.name!r} must return a Route; set output=Route")
    if not experts:
        raise ContractError("router: `specialists` is empty; give at least one")
    take_tasks("router", [clerk, *experts, *spare, *writer])
    if not 0 <= floor <= 1:
        raise ContractError(f"router: `floor` must be from 0 to 1, not {floor}")
    if max_repairs < 0:
        raise ContractError(f"router: `max_repairs` must be 0 or more, not {max_repairs}")
    if writer and not several:
        raise ContractError("router: a `synthesizer` has nothing to join where one answers; set several=True")
    hands = [*experts, *spare]
    names = distinct("router", hands, taken=("begin", "classify", "clarify", "join", "synthesize", "finish"))
    team = {b.agent.name: b.agent.responsibility for b in experts}
    standin = spare[0].agent.name if spare else ""
    back = ["clarify"] if clarify else []
    ends = ["synthesize", "finish"] if writer else ["finish"]

    async def after_classify(state: State) -> list[str]:
        if state.get("outcome"):
            return ["finish"]
        return ["classify"] if state["fault"] else state["chosen"] or back

    async def after_join(state: State) -> str:
        return ends[0] if len(state["chosen"]) > 1 and state.get("answer") is not None else "finish"

    wiring = (
        StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
        .add_node("begin", begin(State))
        .add_node(
            "classify",
            classify(clerk, team, floor, standin, several=several, clarify=clarify, repairs=max_repairs),
            metadata={"agent": clerk.agent.name},
        )
        .add_node("join", join())
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "classify")
        .add_conditional_edges("classify", after_classify, ["classify", *back, *names, "finish"])
        .add_conditional_edges("join", after_join, ends)
        .add_edge("finish", END)
    )
    for hand in hands:
        wiring.add_node(hand.agent.name, specialist(hand), metadata={"agent": hand.agent.name})
        wiring.add_edge(hand.agent.name, "join")
    if clarify:
        wiring.add_node("clarify", ask_back(team)).add_edge("clarify", "classify")
    if writer:
        wiring.add_node("synthesize", synthesize(writer[0]), metadata={"agent": writer[0].agent.name})
        wiring.add_edge("synthesize", "finish")
    tries = (1 + max_repairs) * (2 if clarify else 1)
    work = either(b.calls for b in hands)
    if several:
        work |= total(b.calls for b in experts)
    return compiled(
        wiring,
        name="router",
        agents=(clerk, *hands, *writer),
        steps=tries + 6,
        calls=clerk.calls.times(1, tries) + work + total(w.calls for w in writer).times(0, 1),
    )


graph = build(
    Agent(name="classifier", responsibility="Says who should answer a question.", output=Route, tier="planner"),
    [
        Agent(
            name="librarian",
            responsibility="Answers questions on what documents say, with their sources.",
            tools=(SEARCH, READ),
        ),
        Agent(
            name="analyst",
            responsibility="Answers questions of how many and how much: finds figures, and calculates.",
            tools=(SEARCH, TABLES, QUERY, CALCULATE),
        ),
    ],
    fallback=Agent(
        name="assistant",
        responsibility="Answers any question with the help of documents, tables and a calculator.",
        tools=(SEARCH, READ, TABLES, QUERY, CALCULATE),
    ),
)
