"""Concurrent: several agents, or one over several tasks, at once; then one answer.

    begin -> agent, agent, ... -> gather -> finish
                                     \\-> synthesizer or judge -> finish     (where an agent aggregates)

The task goes to every agent. With several tasks, as a list in the task's `context["tasks"]` or from
`split`, each is one branch instead, dealt out to the agents in order: N tasks to one agent, N to N,
or N to a few. Aggregators are in `state.concurrent`: collect, concatenate, vote, best, first, quorum,
synthesize; a function of all results, or an agent, is one too. Of `first` and `quorum`, which are
races, the branches that no longer matter are cancelled.

Use it when independent views or items can be worked on at the same time.
Cost: 1 model call per branch, and 1 more where an agent aggregates.
"""

from collections.abc import Callable, Sequence
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Send

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct
from nodes.agent import Bound
from nodes.concurrent import branch, gather, judge, send, synthesize
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent
from state.concurrent import Aggregator, Choice, Splitter, State, collect, custom, tasks_of
from state.concurrent import synthesize as synthesized
from state.context import Context
from state.cost import either, total
from state.errors import ContractError
from state.task import Task
from state.turn import Given, Result
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES

Aggregating = Aggregator | Agent | Bound | Pregel[Any, Any, Any, Any] | Callable[[list[dict[str, Any]]], Any]


def build(
    agents: Bindable | Sequence[Bindable],
    *,
    aggregate: Aggregating | None = None,
    split: Splitter = tasks_of,
    min_success: int | None = None,
    timeout: float | None = None,
    chunk: int = 1,
) -> Graph:
    """The agents, and how their results become one answer (`collect`, by default).

    `split` makes the tasks of the Task: a pure function, none for "the same to everyone". Fewer results
    than `min_success` (1) fail the turn. `timeout` bounds each branch in seconds, waiting for its turn
    included. `chunk` puts so many branches of one agent into one node, which saves them together:
    for large fan-outs. Raises ContractError for what cannot work, naming the agent and the mend.
    """
    team = [bind(agent) for agent in (agents if isinstance(agents, Sequence) else (agents,))]
    settling = _aggregator(collect() if aggregate is None else aggregate)
    least = settling.needs if min_success is None else min_success
    _check(team, settling, min_success, timeout, chunk)
    aide = None if settling.by is None else bind(settling.by)
    names = distinct("concurrent", [*team, *([aide] if aide else [])], taken=("begin", "gather", "finish"))[: len(team)]

    async def after_begin(state: State) -> list[Send]:
        return send(state, names, split, least=least, chunk=chunk)

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Result)
    wiring.add_node("begin", begin(State))
    for name, bound in zip(names, team, strict=True):
        wiring.add_node(name, branch(bound, settling, timeout=timeout), metadata={"agent": name})
        wiring.add_edge(name, "gather")
    (
        wiring.add_node("gather", gather(settling, least))
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_conditional_edges("begin", after_begin, names)
        .add_edge("finish", END)
    )
    if aide is None:
        wiring.add_edge("gather", "finish")
    else:
        _aided(wiring, aide, settling, least)
    aides = [aide] if aide else []
    calls = either(b.calls for b in team).unbounded() + total(a.calls for a in aides).times(0, 1)
    return compiled(wiring, name="concurrent", agents=[*team, *aides], steps=5, calls=calls)


def _aided(wiring: StateGraph[State, Context, Given, Result], aide: Bound, settling: Aggregator, least: int) -> None:
    """The agent who makes one answer of the results, behind the node where they meet."""
    name, role = aide.agent.name, judge if settling.name == "best" else synthesize

    async def after_gather(state: State) -> str:
        return "finish" if state.get("outcome") else name

    wiring.add_node(name, role(aide, settling, least), metadata={"agent": name})
    wiring.add_conditional_edges("gather", after_gather, [name, "finish"])
    wiring.add_edge(name, "finish")


def _aggregator(given: Aggregating) -> Aggregator:
    if isinstance(given, Aggregator):
        return given
    if isinstance(given, Agent | Bound | Pregel):
        return synthesized(given)
    if not callable(given):
        raise ContractError(f"concurrent: `aggregate` is {given!r}; give an aggregator, a function or an agent")
    return custom(given)


def _check(team: list[Bound], settling: Aggregator, min_success: int | None, timeout: float | None, chunk: int) -> None:
    if not team:
        raise ContractError("concurrent: `agents` is empty; give at least one")
    if min_success is not None and settling.enough:
        raise ContractError(f"concurrent: {settling.name} says itself how many must succeed; leave `min_success` out")
    if min_success is not None and min_success < 1:
        raise ContractError(f"concurrent: `min_success` must be at least 1, not {min_success}")
    if timeout is not None and timeout <= 0:
        raise ContractError(f"concurrent: `timeout` must be above 0 seconds, not {timeout}")
    if chunk < 1:
        raise ContractError(f"concurrent: `chunk` must be at least 1, not {chunk}")
    for bound in team:
        if chunk > 1 and not bound.leaf:
            raise ContractError(
                f"concurrent: {bound.agent.name!r} is a graph or may ask a person, which only a node of its own "
                "can save and show; leave `chunk` at 1"
            )
        if settling.enough and _asks(bound):
            raise ContractError(
                f"concurrent: {bound.agent.name!r} may ask a person, and {settling.name} would cancel the question; "
                "give it no irreversible tools and another on_failure than escalate, or another aggregator"
            )
    if settling.by is not None and (aide := bind(settling.by).agent) is not None:
        if settling.name == "best" and aide.output is not Choice:
            raise ContractError(f"concurrent: the judge {aide.name!r} must return a Choice; set output=Choice")
        if aide.input is not Task:
            raise ContractError(f"concurrent: {aide.name!r} must take a Task, not {aide.input.__name__}, to aggregate")


def _asks(bound: Bound) -> bool:
    agent = bound.agent
    irreversible = any(tool.effects == "irreversible" for tool in agent.tools)
    return agent.on_failure.action == "escalate" or irreversible or any(map(_asks, bound.fallbacks))


graph = build(
    [
        Agent(
            name="texts",
            responsibility="Answers the task with what documents say, and with its sources.",
            tools=(SEARCH, READ),
        ),
        Agent(
            name="figures",
            responsibility="Answers the task with what tables say, and with what can be computed.",
            tools=(TABLES, QUERY, CALCULATE),
        ),
    ],
    aggregate=Agent(name="synthesizer", responsibility="Writes one answer from the results of several agents."),
)
