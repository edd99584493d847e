"""Research: a question answered from a folder of documents, every claim checked against its source.

    begin -> plan -> technical, context, data -> verify -> judge -> write -> conclude -> finish
                       (one each per part)         \\________________\\________-^

`verify` reads every cited passage again and drops what it does not hold; `judge` drops what it does
not support. When nothing stands, the answer says that the documents do not say: that is a completed
job. A researcher that fails leaves the rest degraded, and named.

Use it when the answer must come from your own documents and tables, with sources that hold.
Cost: 3 + parts x (2 to 3) look-ups of 2 to `limits.steps` model calls each.
"""

from typing import Literal

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from graphs.bind import Bindable, bind
from graphs.compile import compiled
from nodes.research import assign, conclude, judge, look_up, plan, verify, write
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent, Limits
from state.context import Context
from state.cost import either
from state.errors import ContractError
from state.research import Findings, Plan, State, Summary, Verdicts
from state.turn import Given, Result
from tools.calculator import CALCULATE
from tools.charts import CHART
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES

PLANNER = Agent(
    name="planner", responsibility="Prepares the look-up of a question in documents.", output=Plan, tier="planner"
)
TECHNICAL = Agent(
    name="technical",
    responsibility="Finds what documents say in exact terms, with its source.",
    output=Findings,
    tools=(SEARCH, READ),
    limits=Limits(steps=8),
)
CONTEXT = Agent(
    name="context",
    responsibility="Finds what documents say around a question, with its source.",
    output=Findings,
    tools=(SEARCH, READ),
    limits=Limits(steps=8),
)
DATA = Agent(
    name="data",
    responsibility="Computes over the tables among the documents.",
    output=Findings,
    tools=(TABLES, QUERY, CALCULATE, CHART),
    limits=Limits(steps=8),
)
VERIFIER = Agent(name="verifier", responsibility="Reads again what claims cite, without a model.", tools=(READ, QUERY))
CHECKER = Agent(
    name="fact_checker",
    responsibility="Judges whether a passage supports the claim that cites it.",
    output=Verdicts,
    tier="judge",
)
WRITER = Agent(
    name="writer", responsibility="Writes an executive summary from claims that were checked.", output=Summary
)


def build(
    *,
    planner: Bindable = PLANNER,
    technical: Bindable = TECHNICAL,
    context: Bindable = CONTEXT,
    data: Bindable = DATA,
    checker: Bindable = CHECKER,
    writer: Bindable = WRITER,
) -> Graph:
    """A research team; each of its agents can be exchanged for one with the same output.

    Raises ContractError for an agent whose output is another, naming the one it must have.
    """
    chief, judging, author = bind(planner), bind(checker), bind(writer)
    exact, around, figures = bind(technical), bind(context), bind(data)
    for bound, output in (
        (chief, Plan),
        (exact, Findings),
        (around, Findings),
        (figures, Findings),
        (judging, Verdicts),
        (author, Summary),
    ):
        if bound.agent.output is not output:
            raise ContractError(f"research: {bound.agent.name!r} must return {output.__name__}; set output to it")

    looks = either(b.calls for b in (exact, around, figures))

    async def after_plan(state: State) -> list[Send] | Literal["finish"]:
        return "finish" if state.get("outcome") else assign(state)

    async def after_verify(state: State) -> Literal["judge", "conclude"]:
        return "judge" if state["claims"] else "conclude"

    async def after_judge(state: State) -> Literal["write", "conclude"]:
        return "write" if state["claims"] else "conclude"

    return compiled(
        StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Result)
        .add_node("begin", begin(State))
        .add_node("plan", plan(chief), metadata={"agent": chief.agent.name})
        .add_node("technical", look_up(exact, "technical"), metadata={"agent": exact.agent.name})
        .add_node("context", look_up(around, "context"), metadata={"agent": around.agent.name})
        .add_node("data", look_up(figures, "data"), metadata={"agent": figures.agent.name})
        .add_node("verify", verify(VERIFIER), metadata={"agent": VERIFIER.name})
        .add_node("judge", judge(judging), metadata={"agent": judging.agent.name})
        .add_node("write", write(author), metadata={"agent": author.agent.name})
        .add_node("conclude", conclude())
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "plan")
        .add_conditional_edges("plan", after_plan, ["technical", "context", "data", "finish"])
        .add_edge("technical", "verify")
        .add_edge("context", "verify")
        .add_edge("data", "verify")
        .add_conditional_edges("verify", after_verify)
        .add_conditional_edges("judge", after_judge)
        .add_edge("write", "conclude")
        .add_edge("conclude", "finish")
        .add_edge("finish", END),
        name="research",
        agents=(chief, exact, around, figures, judging, author),
        steps=8,
        calls=chief.calls + looks.unbounded() + (judging.calls + author.calls).times(0, 1),
    )


graph = build()
