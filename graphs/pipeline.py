"""Pipeline: stages in a fixed order, each taking what the one before hands on.

    begin -> outline -> answer -> shorten -> finish
                |          |                   ^
                +----------+-------------------+        a required stage that fails ends the run

A stage whose agent takes a Task gets the turn's task, with the output of the stage before in its
context under that stage's name; any other input must fit what is handed on, which is checked here
at build time. The output of every stage stays in the state, in `stages`, under the stage's name.

Use it when the steps are known beforehand and always the same.
Cost: 1 model call per stage.
"""

from collections.abc import Awaitable, Callable, Sequence
from inspect import iscoroutinefunction
from typing import Any

from langgraph.graph import END, START, StateGraph

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct
from nodes import pipeline as nodes
from nodes.pipeline import Stage
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent
from state.context import Context
from state.cost import total
from state.errors import ContractError
from state.pipeline import State, Transform, accepts, misfit, name, returns, wrong_argument
from state.task import Task
from state.turn import Given, Result
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES


def stage(
    agent: Bindable, *, input: Transform | None = None, output: Transform | None = None, optional: bool = False
) -> Stage:
    """One stage. The transforms are plain functions of data, which may run again after a crash.

    `input` makes the agent's input (a string is the goal of its task) of what the stage before hands
    on: of the first stage, the Task. `output` makes what is handed on of the agent's output. What
    either gets is a model where it is known which one, else plain data. An `optional` stage, or one
    whose agent is not critical, is skipped when it fails. Raises ContractError for a transform that
    is no plain function.
    """
    bound = bind(agent)
    for what, transform in (("input", input), ("output", output)):
        if transform is not None and (not callable(transform) or iscoroutinefunction(transform)):
            raise ContractError(
                f"pipeline: `{what}` of {bound.agent.name!r} must be a plain function of one value, "
                f"not {transform!r}; what needs to wait belongs into a stage of its own"
            )
    return Stage(bound=bound, input=input, output=output, optional=optional or not bound.agent.critical)


def build(*stages: Stage | Bindable | Sequence[Stage | Bindable]) -> Graph:
    """The stages in their order, one by one or as a list; an agent alone is a required stage.

    Raises ContractError for no stage, equal names, or neighbours that do not fit each other.
    """
    parts = [part for given in stages for part in (given if isinstance(given, Sequence) else (given,))]
    line = tuple(part if isinstance(part, Stage) else stage(part) for part in parts)
    if not line:
        raise ContractError("pipeline: there is no stage; give at least one agent")
    names = distinct("pipeline", [s.bound for s in line], taken=("begin", "finish"))
    for at in range(len(line)):
        _check(line, at)

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Result)
    wiring.add_node("begin", begin(State))
    for at, agent in enumerate(names):
        wiring.add_node(agent, nodes.stage(line, at), metadata={"agent": agent})
    wiring.add_node("finish", finish())
    wiring.add_edge(START, "begin").add_edge("begin", names[0])
    for part, following in zip(line, names[1:], strict=False):
        if part.optional:
            wiring.add_edge(part.name, following)
        else:
            wiring.add_conditional_edges(part.name, _onward(following), [following, "finish"])
    wiring.add_edge(names[-1], "finish").add_edge("finish", END)
    agents = [s.bound for s in line]
    return compiled(wiring, name="pipeline", agents=agents, steps=2 + len(line), calls=total(b.calls for b in agents))


def _onward(following: str) -> Callable[[State], Awaitable[str]]:
    async def after_stage(state: State) -> str:
        return "finish" if state.get("outcome") else following

    return after_stage


def _check(line: tuple[Stage, ...], at: int) -> None:
    """Hold a stage against all that may come right before it: optional ones may be skipped."""
    this = line[at]
    agent, maker = this.bound.agent, this.input
    if this.output is not None:
        _refuse(this, "output transform", wrong_argument(agent.output, accepts(this.output)), "annotate it with that")
    if maker is not None and not (agent.input is Task and returns(maker) is str):
        why = misfit(returns(maker), agent.input)
        _refuse(this, "input transform", _between(returns(maker), agent.input, why), f"return {name(agent.input)}")
    for before in reversed(line[:at]):
        if maker is not None:
            why = wrong_argument(before.gives, accepts(maker))
            _refuse(this, f"input transform, after {before.name!r},", why, "annotate it with that")
        elif agent.input is not Task:
            why = _between(before.gives, agent.input, misfit(before.gives, agent.input))
            _refuse(this, f"input, after {before.name!r},", why, f"give {this.name!r} an input transform")
        if not before.optional:
            return
    if maker is not None:
        _refuse(this, "input transform", wrong_argument(Task, accepts(maker)), "annotate it with that")
    elif at and agent.input not in (Task, line[0].bound.agent.input):
        why = f"all before may be skipped, and the Task that is left is no {name(agent.input)}"
        _refuse(this, "input", why, "make one of them required, or give it an input transform")


def _between(gives: Any, takes: Any, why: str) -> str:
    return f"{name(gives)} cannot be {name(takes)}: {why}" if why else ""


def _refuse(this: Stage, what: str, why: str, mend: str) -> None:
    if why:
        raise ContractError(f"pipeline: the {what} of {this.name!r} does not fit: {why}; {mend}")


graph = build(
    Agent(
        name="gather",
        responsibility="Gathers what documents and tables say on the task, with its sources.",
        tools=(SEARCH, READ, TABLES, QUERY, CALCULATE),
    ),
    Agent(name="answer", responsibility="Answers the task from what was gathered, with its sources."),
    stage(
        Agent(name="shorten", responsibility="Shortens an answer to what the task needs, and keeps its sources."),
        optional=True,
    ),
)
