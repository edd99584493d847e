"""Blackboard: knowledge sources work on one shared board, whenever it holds what triggers them.

    begin -> watch -> source, source, ... -> post -> watch ... -> finish
               \\-> controller -> source        \\-> resolver -> watch

A source (`state.board.Source`) has a trigger over the board and the entries that it may write; a bare
agent writes its answer under its own name, once. Of those triggered the highest priority acts, or
several at once (`at_once`), or the one that a controller picks (an agent, output Pick). Entries are
versioned: of several who write one in the same round the first wins, and the others read again, some
rounds later; after `max_retries` the rules or the agent in `resolve` decide (an arbitration, a
negotiation, a person), every side kept in `log`. What the task's context holds opens the board.
The work is over when the goal holds or nothing triggers.

Use it when the order of contributions depends on what is already known.
Cost: 1 model call per activation, and 1 each for what a controller picks, a resolver decides, or a
synthesizer writes. Source: Erman et al., Hearsay-II (1980); Hayes-Roth, A blackboard architecture for
control (1985).
"""

from collections.abc import Callable, Sequence

from langgraph.graph import END, START, StateGraph

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.agent import Bound
from nodes.blackboard import STEPS_PER_ROUND, arbitrate, contribute, control, post, synthesize, watch
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent
from state.arbitration import Rule
from state.blackboard import Bounds, Pick, Shown, State
from state.board import Board, Source, one_type_each, seat, when
from state.context import Context
from state.cost import either, total
from state.errors import ContractError
from state.turn import Given
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES


def build(
    sources: Sequence[Source | Bindable],
    *,
    goal: Callable[[Board], bool] | None = None,
    answer: str | Bindable | None = None,
    controller: Bindable | None = None,
    at_once: int | None = 1,
    resolve: Sequence[Rule] | Bindable | None = None,
    max_activations: int = 50,
    max_retries: int = 3,
    max_idle: int = 3,
) -> Graph:
    """The sources, in the order that decides between equals, and what ends their work.

    The answer is an entry (by name), what an agent writes from the board, or the newest entry. `goal` is a
    pure function of the board; without one, the work is done when nothing triggers. `at_once` is how many
    of those triggered act in one round, None for all. `max_activations` bounds the turn; a source that
    changes nothing sits out until the board has changed, and after `max_idle` times in a row for good.
    Raises ContractError for what cannot work, naming the source and the mend.
    """
    given = [s if isinstance(s, Source) else Source(who=s) for s in sources]
    team = [bind(s.who) for s in given]
    rules = list(resolve) if isinstance(resolve, Sequence) else []
    chief = None if controller is None else bind(controller)
    judge = None if resolve is None or isinstance(resolve, Sequence) else bind(resolve)
    writer = None if answer is None or isinstance(answer, str) else bind(answer)
    aides = [a for a in (chief, judge, writer) if a is not None]
    bounds = Bounds(max_activations=max_activations, at_once=at_once, max_retries=max_retries, max_idle=max_idle)
    _check([*team, *aides], team, chief, rules, bounds)
    names = distinct("blackboard", [*team, *aides], taken=("begin", "watch", "post", "finish"))[: len(team)]
    seats = {b.agent.name: seat(s, b.agent) for s, b in zip(given, team, strict=True)}
    one_type_each(list(seats.values()))
    entry = answer if isinstance(answer, str) else None
    last = "finish" if writer is None else writer.agent.name
    first = names if chief is None else [*names, chief.agent.name]
    contested = "watch" if judge is None else judge.agent.name
    reserve = STEPS_PER_ROUND + (len(team) if judge is not None else 0)

    async def after_watch(state: State) -> list[str]:
        if state.get("outcome") or state.get("over"):
            return ["finish" if state.get("outcome") else last]
        return [chief.agent.name] if chief is not None and len(state["ready"]) > 1 else state["chosen"]

    async def after_control(state: State) -> list[str]:
        return ["finish"] if state.get("outcome") else state["chosen"]

    async def after_post(state: State) -> str:
        return "finish" if state.get("outcome") else contested if state["conflicts"] else "watch"

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
    (
        wiring.add_node("begin", begin(State))
        .add_node("watch", watch(list(seats.values()), bounds, goal, entry, reserve, synthesizes=writer is not None))
        .add_node("post", post(seats, bounds, entry, rules=rules, referred=judge is not None))
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "watch")
        .add_conditional_edges("watch", after_watch, list(dict.fromkeys([*first, last, "finish"])))
        .add_conditional_edges("post", after_post, list(dict.fromkeys([contested, "watch", "finish"])))
        .add_edge("finish", END)
    )
    for name, bound in zip(names, team, strict=True):
        wiring.add_node(name, contribute(bound, seats[name]), metadata={"agent": name}).add_edge(name, "post")
    if chief is not None:
        wiring.add_node(chief.agent.name, control(chief, team, entry), metadata={"agent": chief.agent.name})
        wiring.add_conditional_edges(chief.agent.name, after_control, [*names, "finish"])
    if judge is not None:
        wiring.add_node(contested, arbitrate(judge, seats, entry), metadata={"agent": contested})
        wiring.add_conditional_edges(contested, after_post, [contested, "watch", "finish"])
    if writer is not None:
        wiring.add_node(last, synthesize(writer), metadata={"agent": last}).add_edge(last, "finish")
    calls = [either(b.calls for b in team), *(a.calls for a in (chief, judge) if a is not None)]
    return compiled(
        wiring,
        name="blackboard",
        agents=[*team, *aides],
        steps=4 + 5 * max_activations,
        calls=total(calls).times(0, max_activations) + total(w.calls for w in [writer] if w).times(0, 1),
    )


def _check(everybody: list[Bound], team: list[Bound], chief: Bound | None, rules: list[Rule], bounds: Bounds) -> None:
    if not team:
        raise ContractError("blackboard: `sources` is empty; give at least one")
    take_tasks("blackboard", everybody)
    if wrong := [r for r in rules if not isinstance(r, Rule)]:
        raise ContractError(f"blackboard: `resolve` has {wrong[0]!r}; give Rules, as of state.arbitration, or an agent")
    if chief is not None and chief.agent.output is not Pick:
        raise ContractError(f"blackboard: the controller {chief.agent.name!r} must return a Pick; set output=Pick")
    if chief is not None and bounds.at_once != 1:
        raise ContractError("blackboard: a controller picks one source at a time; leave `at_once` at 1, or drop it")
    for name, least in (("max_activations", 1), ("at_once", 1), ("max_retries", 0), ("max_idle", 1)):
        value = getattr(bounds, name)
        if value is not None and value < least:
            raise ContractError(f"blackboard: `{name}` must be at least {least}, not {value}")


graph = build(
    [
        Agent(
            name="passages",
            responsibility="Finds what documents say on the goal, with the source of each statement.",
            tools=(SEARCH, READ),
        ),
        Agent(
            name="figures",
            responsibility="Computes over tables what the goal asks for.",
            tools=(TABLES, QUERY, CALCULATE),
        ),
        Source(
            who=Agent(name="summary", responsibility="Answers the goal from what passages and figures say."),
            trigger=when("passages", "figures", without="summary"),
        ),
    ],
    goal=when("summary"),
    answer="summary",
    at_once=None,
)
