"""ReAct: reason, act, observe, until there is an answer.

    begin -> think -> act -> think ... -> finish
                  \\-> gate -> act          (calls that cannot be undone wait for a person)
                        ^-----/            (and once more where nobody knows what became of one)

Use it when one agent with tools can do the job: it is the loop every tool-using agent runs on.
Cost: 1 model call without tools, at most `limits.steps` calls and as many repairs as they need.
Source: Yao et al., ReAct (2022).
"""

from typing import Literal

from langchain_core.language_models import BaseChatModel
from langgraph.graph import END, START, StateGraph

from graphs.compile import compiled
from nodes.agent import Bound
from nodes.react import act, calls_of, gate, think
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent
from state.context import Context
from state.errors import ContractError
from state.react import State, after_tools, next_move
from state.turn import Given, Result, steps_left
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES


def build(who: Agent | Bound) -> Graph:
    """The tool loop of one agent, or of one bound to a chat model of its own.

    Raises ContractError for an agent that a function or a graph answers for, or whose fallbacks are
    not bound yet.
    """
    bound = who if isinstance(who, Bound) else Bound(who)
    agent = bound.agent
    if not isinstance(bound.by, BaseChatModel | None):
        raise ContractError(
            f"react: {agent.name!r} is answered for by a {type(bound.by).__name__}, not by a chat model"
        )
    if agent.on_failure.action == "fallback" and not bound.fallbacks:
        raise ContractError(
            f"react: the fallbacks of {agent.name!r} are not bound; give bind(agent) instead of the agent"
        )

    async def after_think(state: State) -> Literal["gate", "act", "finish"]:
        calls = [] if state.get("outcome") else calls_of(state)
        return next_move(calls, agent.tools, state["steps"], agent.limits.steps, steps_left(state))

    async def after_act(state: State) -> Literal["gate", "think"]:
        return after_tools(state)

    return compiled(
        StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Result)
        .add_node("begin", begin(State))
        .add_node("think", think(bound), metadata={"agent": agent.name})
        .add_node("gate", gate(agent))
        .add_node("act", act(agent))
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "think")
        .add_conditional_edges("think", after_think)
        .add_edge("gate", "act")
        .add_conditional_edges("act", after_act)
        .add_edge("finish", END),
        name="react",
        agents=(bound,),
        steps=2 + 3 * agent.limits.steps,
        calls=bound.calls.times(1, agent.limits.steps),
    )


graph = build(
    Agent(
        name="assistant",
        responsibility="Answers a question with the help of documents, tables and a calculator.",
        tools=(SEARCH, READ, TABLES, QUERY, CALCULATE),
    )
)
