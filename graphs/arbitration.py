"""Arbitration: contradictory results about one subject become one answer, and every side is kept.

    begin -> side, side, ... -> weigh -> finish
                                   \\-> arbiter -> finish     (what no rule decides)

The sides are agents who answer in parallel; or, in the task's `context["results"]`, results that are
there already: texts, or mappings with agent, text or output, citations, confidence, when. Sides that
agree need no arbitration. Rules come first (`state.arbitration`: priority, confidence, recency,
expertise, vote), each for what the one before leaves tied; then the arbiter: a judge (output Ruling)
names a side, any other agent answers in its own words: a negotiation, a person (`bind(agent, PERSON)`).
`state.arbitration.arbitrate` is the same as an aggregator of `concurrent`, `state.contest.reconcile` as the
resolver of shared versioned values, and `blackboard` takes rules or an arbiter as `resolve`.

Use it when sources contradict each other, and one of them must be believed.
Cost: 1 model call per side that is an agent, and 1 more where the arbiter decides.
"""

from collections.abc import Sequence

from langgraph.graph import END, START, StateGraph

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.arbitration import arbitrate, side, weigh
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent
from state.arbitration import Rule, Ruling, Shown, State, given
from state.concurrent import Key, same
from state.context import Context
from state.cost import total
from state.errors import ContractError, InputError
from state.turn import Given, task_of
from tools.calculator import CALCULATE
from tools.documents import SEARCH
from tools.tables import QUERY, TABLES


def build(
    sides: Sequence[Bindable] = (),
    *,
    rules: Sequence[Rule] = (),
    arbiter: Bindable | None = None,
    key: Key | None = None,
) -> Graph:
    """The agents who may contradict each other, what decides between them, and who decides what is left.

    Without `sides` every task must bring its results; with them, a task that does is arbitrated without
    asking them. `key` says what makes two outputs the same (`state.concurrent.same`, by default). What
    nothing decides is degraded, with the surest of the sides that are still standing. Raises
    ContractError for equal names, an agent that takes no Task, or nothing that could decide.
    """
    team, chief = [bind(s) for s in sides], None if arbiter is None else bind(arbiter)
    everybody = [*team, *([] if chief is None else [chief])]
    take_tasks("arbitration", everybody)
    if not rules and chief is None:
        raise ContractError("arbitration: nothing can decide; give `rules`, an `arbiter`, or both")
    if wrong := [r for r in rules if not isinstance(r, Rule)]:
        raise ContractError(f"arbitration: `rules` has {wrong[0]!r}; give a Rule, as of state.arbitration")
    alike = same if key is None else key
    names = distinct("arbitration", everybody, taken=("begin", "weigh", "finish"))
    asked, last = names[: len(team)], "finish" if chief is None else names[-1]

    async def after_begin(state: State) -> list[str]:
        there = given(task_of(state)) is not None
        if not there and not asked:
            raise InputError("there is nothing to arbitrate: give the results as a list in `context['results']`")
        return ["weigh"] if there else asked

    async def after_weigh(state: State) -> str:
        return "finish" if state.get("outcome") else last

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
    for at, bound in enumerate(team):
        wiring.add_node(asked[at], side(bound, at), metadata={"agent": asked[at]}).add_edge(asked[at], "weigh")
    (
        wiring.add_node("begin", begin(State))
        .add_node("weigh", weigh(rules, alike, arbiter=chief is not None))
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_conditional_edges("begin", after_begin, [*asked, "weigh"])
        .add_conditional_edges("weigh", after_weigh, list(dict.fromkeys([last, "finish"])))
        .add_edge("finish", END)
    )
    if chief is not None:
        wiring.add_node(last, arbitrate(chief, rules, alike), metadata={"agent": last}).add_edge(last, "finish")
    calls = total(b.calls for b in everybody).times(0, 1)
    return compiled(wiring, name="arbitration", agents=everybody, steps=5, calls=calls)


graph = build(
    [
        Agent(
            name="reader",
            responsibility="Answers the task with what documents say, and with the source of each statement.",
            tools=(SEARCH,),
        ),
        Agent(
            name="reckoner",
            responsibility="Answers the task with what tables and documents say, and computes what can be computed.",
            tools=(SEARCH, TABLES, QUERY, CALCULATE),
        ),
    ],
    arbiter=Agent(
        name="arbiter",
        responsibility="Decides which of several contradictory results is right.",
        output=Ruling,
        tier="judge",
    ),
)
