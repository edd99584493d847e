"""Magentic: a manager keeps a ledger of the task and one of its progress, and sends workers until it is done.

    begin -> plan -> progress <-> worker, or worker, ...
              ^         |
              +- stall -+-> answer -> finish

With `review_plan` a person sees each plan before it is worked by: plan <-> review -> progress.
Use it when the way to the answer is not known beforehand, and plans will fail. Cost: plans + ledgers +
turns + 1 model calls; at most (1 + max_resets + max_reviews) + 2 x (max_rounds + 1) + max_rounds + 1.
Source: Fourney et al., Magentic-One (2024).
"""

from collections.abc import Sequence
from dataclasses import replace

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.agent import Bound
from nodes.magentic import answer, plan, progress, review, work
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent
from state.context import Context
from state.cost import either
from state.errors import ContractError
from state.magentic import Bounds, ProgressLedger, Shown, State, TaskLedger, next_move, standing
from state.turn import Given
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES


def build(
    planner: Bindable,
    manager: Bindable,
    workers: Sequence[Bindable],
    writer: Bindable,
    *,
    max_rounds: int = 20,
    max_stalls: int = 3,
    max_resets: int = 2,
    review_plan: bool = False,
    max_reviews: int = 3,
    window: int = 10,
) -> Graph:
    """Who writes the task ledger, who the progress ledger, the workers, and who the final answer.

    `max_rounds` bounds the workers' turns. Above `max_stalls` the planner plans anew, at most `max_resets`
    times. `max_reviews` bounds how often a person sends a plan back. `window` is how many exchanges workers
    and manager still see; a new plan and the answer are written from all of them. A ledger that does not
    fit its form is sent back once, whatever the agent's own limit of repairs.

    Raises ContractError for ledgers of another form, no workers, equal names, or impossible bounds.
    """
    outer, inner = _keeper(planner, "planner", TaskLedger), _keeper(manager, "manager", ProgressLedger)
    hands, author = [bind(w) for w in workers], bind(writer)
    if not hands:
        raise ContractError("magentic: `workers` is empty; give at least one")
    for option, value, least in (
        ("max_rounds", max_rounds, 1), ("max_stalls", max_stalls, 0), ("max_resets", max_resets, 0),
        ("max_reviews", max_reviews, 0), ("window", window, 1),
    ):  # fmt: skip
        if value < least:
            raise ContractError(f"magentic: `{option}` must be at least {least}, not {value}")
    take_tasks("magentic", [outer, inner, *hands, author])
    names = distinct("magentic", hands, taken=("begin", "plan", "review", "progress", "answer", "finish"))
    team, bounds = dict(zip(names, hands, strict=True)), Bounds(max_rounds, max_stalls, max_resets)
    seen = ["review"] if review_plan else []

    async def after_plan(state: State) -> str:
        reviewed = not seen or standing(state)["approved"] or not state.get("ledger")
        return "finish" if state.get("outcome") else "progress" if reviewed else "review"

    async def after_review(state: State) -> str:
        return "finish" if state.get("outcome") else "plan" if standing(state)["feedback"] else "progress"

    async def after_progress(state: State) -> str:
        return "finish" if state.get("outcome") else next_move(state, bounds)

    async def after_work(state: State) -> str:
        return "finish" if state.get("outcome") else "progress"

    wiring = (
        StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
        .add_node("begin", begin(State))
        .add_node("plan", plan(outer, team), metadata={"agent": outer.agent.name})
        .add_node("progress", progress(inner, team, window), metadata={"agent": inner.agent.name})
        .add_node("answer", answer(author, bounds), metadata={"agent": author.agent.name})
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "plan")
        .add_conditional_edges("plan", after_plan, [*seen, "progress", "finish"])
        .add_conditional_edges("progress", after_progress, [*names, "progress", "plan", "answer", "finish"])
        .add_edge("answer", "finish")
        .add_edge("finish", END)
    )
    for name, hand in team.items():
        wiring.add_node(name, work(hand, inner.agent.name, window), metadata={"agent": name})
        wiring.add_conditional_edges(name, after_work, ["progress", "finish"])
    if review_plan:
        wiring.add_node("review", review(names, max_reviews))
        wiring.add_conditional_edges("review", after_review, ["plan", "progress", "finish"])
    plans = 1 + max_resets + max_reviews * review_plan
    return compiled(
        wiring,
        name="magentic",
        agents=(outer, inner, *hands, author),
        steps=2 * plans + 3 * (max_rounds + 1) + 2,
        calls=outer.calls.times(1, plans)
        + inner.calls.times(1, 2 * (max_rounds + 1))
        + either(h.calls for h in hands).times(0, max_rounds)
        + author.calls,
    )


def _keeper(who: Bindable, option: str, ledger: type[BaseModel]) -> Bound:
    """Who keeps a ledger, with one repair: a second misfit is a stall, which costs nothing more."""
    bound = bind(who)
    if bound.agent.output is not ledger:
        form = ledger.__name__
        raise ContractError(f"magentic: the {option} {bound.agent.name!r} must return a {form}; set output={form}")
    limits = bound.agent.limits
    return replace(bound, agent=replace(bound.agent, limits=replace(limits, repairs=min(1, limits.repairs))))


graph = build(
    Agent(name="planner", responsibility="Keeps the facts and the plan of a task.", output=TaskLedger, tier="planner"),
    Agent(name="manager", responsibility="Judges progress, and says who goes on.", output=ProgressLedger, tier="judge"),
    [
        Agent(name="researcher", responsibility="Looks a question up in the documents.", tools=(SEARCH, READ)),
        Agent(name="analyst", responsibility="Computes figures from tables.", tools=(TABLES, QUERY, CALCULATE)),
    ],
    Agent(name="writer", responsibility="Writes the final answer from what a team said."),
)
