"""Critic: generate, critique, revise, until every critic accepts.

    begin -> generate -> critic, critic, ... -> weigh -> finish
                           ^                      |
                           +------- revise <------+

Use it when a draft can be checked more easily than it can be got right at once: style, facts,
security. Cost: 1 + critics model calls when the first draft is good, at most
1 + max_rounds x (critics + 1) - 1. Source: Madaan et al., Self-Refine (2023).
"""

from collections.abc import Sequence

from langgraph.graph import END, START, StateGraph

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.critic import STEPS_PER_ROUND, generate, review, revise, waive, weigh
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent
from state.context import Context
from state.cost import total
from state.critic import Critique, State, blocking
from state.errors import ContractError
from state.turn import Given, Result
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES


def build(
    generator: Bindable,
    critics: Sequence[Bindable],
    *,
    reviser: Bindable | None = None,
    max_rounds: int = 3,
    ask_to_waive: bool = False,
) -> Graph:
    """A generator, the critics who review it in parallel, and who revises (the generator, by default).

    `max_rounds` bounds the reviews; `ask_to_waive` puts what stays blocking to a person. Raises
    ContractError for no critics, one that returns no Critique, equal names, or a bound below 1.
    """
    author, judges = bind(generator), [bind(c) for c in critics]
    mender = author if reviser is None else bind(reviser)
    if not judges:
        raise ContractError("critic: `critics` is empty; give at least one agent whose output is Critique")
    take_tasks("critic", [author, mender, *judges])
    if max_rounds < 1:
        raise ContractError(f"critic: `max_rounds` must be at least 1, not {max_rounds}")
    for judge in judges:
        if judge.agent.output is not Critique:
            raise ContractError(f"critic: {judge.agent.name!r} must return a Critique; set output=Critique")
    exits = ["finish", "waive"] if ask_to_waive else ["finish"]
    names = distinct("critic", judges, taken=("begin", "generate", "weigh", "revise", "waive", "finish"))

    async def after_draft(state: State) -> list[str]:
        return ["finish"] if state.get("outcome") else names

    async def after_weigh(state: State) -> str:
        if not state.get("outcome"):
            return "revise"
        stuck = state["outcome"] == "degraded" and blocking({"": {"issues": state.get("best_open") or []}})
        return exits[-1] if stuck else "finish"

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Result)
    for judge in judges:
        wiring.add_node(judge.agent.name, review(judge), metadata={"agent": judge.agent.name})
    (
        wiring.add_node("begin", begin(State))
        .add_node("generate", generate(author), metadata={"agent": author.agent.name})
        .add_node("weigh", weigh(max_rounds))
        .add_node("revise", revise(mender), metadata={"agent": mender.agent.name})
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "generate")
        .add_conditional_edges("generate", after_draft, [*names, "finish"])
        .add_edge(names, "weigh")
        .add_conditional_edges("weigh", after_weigh, ["revise", *exits])
        .add_conditional_edges("revise", after_draft, [*names, "finish"])
        .add_edge("finish", END)
    )
    if ask_to_waive:
        wiring.add_node("waive", waive()).add_edge("waive", "finish")
    reviews, revisions = total(j.calls for j in judges).times(1, max_rounds), mender.calls.times(0, max_rounds - 1)
    return compiled(
        wiring,
        name="critic",
        agents=(author, mender, *judges),
        steps=2 + STEPS_PER_ROUND * max_rounds,
        calls=author.calls + reviews + revisions,
    )


graph = build(
    Agent(
        name="author",
        responsibility="Answers the task from documents and tables, as a short, complete draft with its sources.",
        tools=(SEARCH, READ, TABLES, QUERY, CALCULATE),
    ),
    [
        Agent(
            name="critic",
            responsibility="Judges whether a draft answers its task, and names every fault.",
            output=Critique,
            tier="judge",
        )
    ],
)
