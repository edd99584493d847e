"""Hierarchy: managers over teams over workers, to any depth; tasks go down, summaries and evidence come up.

    begin -> delegate -> member, member, ... -> collect -> report -> finish
                ^                                  |
                +----------------------------------+     a member is an agent, any pattern, or a team like this

A manager hands out one layer of tasks to its own team, and knows nobody below it. Each task gets a part
of the budget that is left; what it does not use stays with the team.
Use it when the job is too large for one team. Cost: delegations + tasks + reports model calls, over all
levels; of one level at most max_rounds x (1 + max_repairs + max_assignments) + 1.
"""

from collections.abc import Sequence
from dataclasses import replace

from langchain_core.language_models import BaseChatModel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.agent import Bound
from nodes.hierarchy import collect, delegate, member, report, send
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import DEGRADE, Agent, Person, Text
from state.context import Context
from state.cost import either
from state.errors import ContractError
from state.hierarchy import Assignments, Shown, State, next_move
from state.turn import Given
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES

Member = Bindable | tuple[Bindable, Sequence["Member"]]


def build(
    manager: Bindable,
    members: Sequence[Member],
    *,
    reporter: Bindable | None = None,
    max_rounds: int = 2,
    max_repairs: int = 1,
    max_assignments: int = 6,
) -> Graph:
    """A manager (output Assignments, no tools), its team, and who reports (the manager, by default).

    A member that is a pair (manager, members) is a team of the same kind and options, under its manager's
    name. The manager is asked again, at most `max_rounds` times in all, when it said that more would follow
    or something is missing. `max_repairs` bounds how often a faulty word of one round goes back,
    `max_assignments` the tasks of one round.

    Raises ContractError for a manager with tools or another output, no members, equal names, nobody who
    can report, or impossible bounds.
    """
    chief = bind(manager)
    if chief.agent.output is not Assignments or chief.agent.tools:
        raise ContractError(
            f"hierarchy: the manager {chief.agent.name!r} must return Assignments and have no tools; "
            "set output=Assignments and give the tools to a member"
        )
    if not members:
        raise ContractError(f"hierarchy: the team of {chief.agent.name!r} is empty; give at least one member")
    for option, value, least in (
        ("max_rounds", max_rounds, 1), ("max_repairs", max_repairs, 0), ("max_assignments", max_assignments, 1)
    ):  # fmt: skip
        if value < least:
            raise ContractError(f"hierarchy: `{option}` must be at least {least}, not {value}")

    def team(of: Member) -> Bound:
        """A member as it is, or the graph of a team under its manager's name."""
        if not isinstance(of, tuple):
            return bind(of)
        lead = bind(of[0])
        below = build(lead, of[1], max_rounds=max_rounds, max_repairs=max_repairs, max_assignments=max_assignments)
        return bind(Agent(name=lead.agent.name, responsibility=lead.agent.responsibility), below)

    hands, author = [team(m) for m in members], _reporter(chief) if reporter is None else bind(reporter)
    take_tasks("hierarchy", [chief, *hands, author])
    names = distinct("hierarchy", hands, taken=("begin", "delegate", "collect", "report", "finish"))

    async def after_delegate(state: State) -> list[Send] | str:
        if state.get("outcome"):
            return "finish"
        return "delegate" if state["faults"] else send(state) or "report"

    async def after_collect(state: State) -> str:
        return "finish" if state.get("outcome") else next_move(state, max_rounds)

    wiring = (
        StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
        .add_node("begin", begin(State))
        .add_node(
            "delegate",
            delegate(
                chief, dict(zip(names, hands, strict=True)), max_repairs=max_repairs, max_assignments=max_assignments
            ),
            metadata={"agent": chief.agent.name},
        )
        .add_node("collect", collect(max_rounds))
        .add_node("report", report(author), metadata={"agent": author.agent.name})
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "delegate")
        .add_conditional_edges("delegate", after_delegate, [*names, "delegate", "report", "finish"])
        .add_conditional_edges("collect", after_collect, ["delegate", "report", "finish"])
        .add_edge("report", "finish")
        .add_edge("finish", END)
    )
    for name, hand in zip(names, hands, strict=True):
        wiring.add_node(name, member(hand), metadata={"agent": name})
        wiring.add_edge(name, "collect")
    return compiled(
        wiring,
        name="hierarchy",
        agents=(chief, *hands, author),
        steps=max_rounds * (3 + max_repairs) + 3,
        calls=chief.calls.times(1, max_rounds * (1 + max_repairs))
        + either(h.calls for h in hands).times(1, max_rounds * max_assignments)
        + author.calls,
    )


def _reporter(chief: Bound) -> Bound:
    """The manager under another form of answer."""
    if not isinstance(chief.by, BaseChatModel | Person | None):
        raise ContractError(
            f"hierarchy: {chief.agent.name!r} is answered for by a {type(chief.by).__name__}, which only assigns; "
            "give a `reporter`"
        )
    policy = DEGRADE if chief.fallbacks else chief.agent.on_failure
    return Bound(replace(chief.agent, output=Text, invariants=(), on_failure=policy), chief.by)


graph = build(
    Agent(name="director", responsibility="Splits a task between its teams.", output=Assignments, tier="planner"),
    [
        (
            Agent(name="research", responsibility="Finds what documents say.", output=Assignments, tier="planner"),
            [
                Agent(name="searcher", responsibility="Looks a question up in the documents.", tools=(SEARCH, READ)),
                Agent(name="skeptic", responsibility="Looks for what speaks against it.", tools=(SEARCH, READ)),
            ],
        ),
        (
            Agent(
                name="figures",
                responsibility="Finds what tables say.",
                output=Assignments,
                tier="planner",
            ),
            [
                Agent(
                    name="analyst",
                    responsibility="Computes figures from tables.",
                    tools=(SEARCH, TABLES, QUERY, CALCULATE),
                )
            ],
        ),
    ],
)
