"""Orchestrator and workers: a plan, its steps by whoever does them best, one synthesis.

    begin -> plan <-> replan
              |          ^
              v          |
            work --------+---> synthesize -> finish      workers that are leaves
            assign <-> worker, worker, ...               workers that are graphs, or may ask a person

Leaves start the moment their own needs are met; graphs go layer by layer, so that they can be seen,
asked and resumed from outside. Use it when a task falls into parts that one can name beforehand.
Cost: 2 + steps model calls when all goes well; at most
(1 + max_replans) x (1 + max_plan_repairs + steps) + 1.
"""

from collections.abc import Sequence
from typing import Literal

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.agent import Bound
from nodes.orchestrator_worker import assign, layer, plan, replan, synthesize, work, worker
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent
from state.context import Context
from state.cost import either
from state.errors import ContractError
from state.orchestrator_worker import State, next_move
from state.plan import Plan
from state.turn import Given, Result
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES

LONGEST = 100  # layers of one plan that the recursion limit leaves room for


def build(
    planner: Bindable,
    workers: Sequence[Bindable],
    synthesizer: Bindable,
    *,
    max_plan_repairs: int = 2,
    max_replans: int = 1,
) -> Graph:
    """A planner (output Plan, no tools), the workers it may name, and who writes the answer.

    Raises ContractError for a planner with tools or another output, no workers, equal names, or
    bounds below 0.
    """
    chief, writer, hands = bind(planner), bind(synthesizer), [bind(w) for w in workers]
    if chief.agent.output is not Plan or chief.agent.tools:
        raise ContractError(
            f"orchestrator_worker: the planner {chief.agent.name!r} must return a Plan and have no tools; "
            "set output=Plan and give the tools to a worker"
        )
    if not hands:
        raise ContractError("orchestrator_worker: `workers` is empty; give at least one")
    take_tasks("orchestrator_worker", [chief, writer, *hands])
    if max_plan_repairs < 0 or max_replans < 0:
        raise ContractError("orchestrator_worker: `max_plan_repairs` and `max_replans` must be 0 or more")
    names = distinct("orchestrator_worker", hands, taken=ROLES)
    team = dict(zip(names, hands, strict=True))
    leaves = all(hand.leaf for hand in hands)

    wiring = (
        StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Result)
        .add_node("begin", begin(State))
        .add_node("plan", plan(chief, team, max_plan_repairs), metadata={"agent": chief.agent.name})
        .add_node("replan", replan())
        .add_node("synthesize", synthesize(writer), metadata={"agent": writer.agent.name})
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "plan")
        .add_edge("replan", "plan")
        .add_edge("synthesize", "finish")
        .add_edge("finish", END)
    )
    if leaves:
        _eager(wiring, team, max_replans)
    else:
        _layered(wiring, team, max_replans)
    rounds = (1 + max_replans) * (2 + max_plan_repairs + (1 if leaves else 2 * LONGEST))
    plans = chief.calls.times(1, (1 + max_replans) * (1 + max_plan_repairs))
    return compiled(
        wiring,
        name="orchestrator_worker",
        agents=(chief, writer, *hands),
        steps=rounds + 4,
        calls=plans + either(h.calls for h in hands).unbounded() + writer.calls,
    )


ROLES = ("begin", "plan", "replan", "work", "assign", "synthesize", "finish")
Wiring = StateGraph[State, Context, Given, Result]


def _eager(wiring: Wiring, team: dict[str, Bound], max_replans: int) -> None:
    """One node that runs the whole plan, each step as early as it can."""

    async def after_plan(state: State) -> Literal["plan", "work", "finish"]:
        return "finish" if state.get("outcome") else "plan" if state.get("plan_faults") else "work"

    async def after_work(state: State) -> Literal["replan", "synthesize"]:
        return "replan" if next_move(state, max_replans) == "replan" else "synthesize"

    wiring.add_node("work", work(team))
    wiring.add_conditional_edges("plan", after_plan)
    wiring.add_conditional_edges("work", after_work)


def _layered(wiring: Wiring, team: dict[str, Bound], max_replans: int) -> None:
    """One node per worker, sent to layer by layer."""

    async def after_plan(state: State) -> Literal["plan", "assign", "finish"]:
        return "finish" if state.get("outcome") else "plan" if state.get("plan_faults") else "assign"

    async def after_assign(state: State) -> list[Send] | Literal["replan", "synthesize"]:
        move = next_move(state, max_replans)
        return layer(state) if move == "work" else move

    wiring.add_node("assign", assign())
    for name, hand in team.items():
        wiring.add_node(name, worker(hand), metadata={"agent": name})
        wiring.add_edge(name, "assign")
    wiring.add_conditional_edges("plan", after_plan)
    wiring.add_conditional_edges("assign", after_assign, [*team, "replan", "synthesize"])


graph = build(
    Agent(name="planner", responsibility="Splits a goal into steps for its workers.", output=Plan, tier="planner"),
    [
        Agent(
            name="reader",
            responsibility="Answers one question from documents, with their sources.",
            tools=(SEARCH, READ),
        ),
        Agent(
            name="analyst",
            responsibility="Finds or computes figures, from tables and documents.",
            tools=(SEARCH, TABLES, QUERY, CALCULATE),
        ),
    ],
    Agent(name="synthesizer", responsibility="Writes one answer from the results of several steps."),
)
