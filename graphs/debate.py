"""Debate: debaters answer, criticise each other and revise; a judge who sees no names decides.

    begin -> debater, debater, ... -> moderate -> judge -> decide --------> count -> finish
                      ^                  |                 |  +-> person ----^
                      +------------------+-----------------+
                       criticise, then revise    (a tie: another round, or a person)

All debaters answer at the same time without knowing of each other. In each round each criticises the
others' answers, then revises its own with the criticism it received. When the answers agree the debate
is over; else the judge picks one, by numbers in an order that the seed shuffles.

Use it when a hard question has one right answer, and errors can be argued away. Cost: debaters model
calls when the first answers agree, at most debaters x (1 + 2 x rounds) + verdicts. Commonly given for debates
are 4 to 6 times the tokens of one answer, and 15 to 30 % more right on hard questions; `cost_factor` says what
it was here. Sources: Du et al., Improving Factuality and Reasoning in Language Models through Multiagent
Debate (2023); Liang et al., Encouraging Divergent Thinking in Large Language Models through Multi-Agent
Debate (2023).
"""

from collections.abc import Sequence
from typing import get_args

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.debate import Stop, count, debater, decide, moderate, person, to_judge
from nodes.debate import judge as judged
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent
from state.context import Context
from state.cost import total
from state.debate import Shown, State, TieBreak, Verdict, alike, in_debate
from state.errors import ContractError
from state.turn import Given
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES

ROLES = ("begin", "moderate", "judge", "decide", "person", "count", "finish")


def build(
    debaters: Sequence[Bindable],
    judge: Bindable,
    *,
    rounds: int = 1,
    agreement: Stop = alike,
    both_orders: bool = False,
    tie_break: TieBreak = "no_decision",
    tie_rounds: int = 1,
) -> Graph:
    """Two or more debaters who answer in the same form, and the judge (output Verdict).

    `agreement` is a pure function of the answers, in the order of the debaters, or "judge": the judge is
    then asked after every round, too. With `both_orders` it looks twice, each answer in another place, and
    two different picks are a tie. `tie_break` "another round" adds at most `tie_rounds`; without a decision
    the answer is all of them as one Text, degraded. Raises ContractError for fewer than two debaters,
    forms that differ, equal names, a judge with another output, or bounds below 1.
    """
    team, chief = [bind(d) for d in debaters], bind(judge)
    if len(team) < 2:
        raise ContractError(f"debate: `debaters` has {len(team)}; give at least two")
    take_tasks("debate", [*team, chief])
    for bound in team[1:]:
        if bound.agent.output is not team[0].agent.output:
            raise ContractError(
                f"debate: {bound.agent.name!r} returns {bound.agent.output.__name__}, {team[0].agent.name!r} "
                f"{team[0].agent.output.__name__}; give all debaters the same output"
            )
    if chief.agent.output is not Verdict:
        raise ContractError(f"debate: the judge {chief.agent.name!r} must return a Verdict; set output=Verdict")
    if rounds < 1 or tie_rounds < 1:
        raise ContractError(f"debate: `rounds` and `tie_rounds` must be at least 1, not {rounds} and {tie_rounds}")
    if agreement != "judge" and not callable(agreement):
        raise ContractError(f"debate: `agreement` is {agreement!r}; give a function of the answers, or 'judge'")
    if tie_break not in get_args(TieBreak):
        raise ContractError(f"debate: `tie_break` is {tie_break!r}; give one of {', '.join(get_args(TieBreak))}")
    names = distinct("debate", team, taken=ROLES)

    async def after_moderate(state: State) -> list[str | Send]:
        if state.get("outcome"):
            return ["count"]
        return [*(to_judge(state, both_orders) if state["phase"] == "judge" else in_debate(state["said"], names))]

    async def after_decide(state: State) -> list[str]:
        if state.get("outcome"):
            return ["count"]
        return ["person"] if state["phase"] == "person" else in_debate(state["said"], names)

    asking = ["person"] if tie_break == "human" else []
    early, more = agreement == "judge", tie_rounds if tie_break == "another round" else 0
    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
    wiring.add_node("begin", begin(State))
    for bound in team:
        name = bound.agent.name
        wiring.add_node(name, debater(bound, names), metadata={"agent": name})
        wiring.add_edge("begin", name).add_edge(name, "moderate")
    (
        wiring.add_node("moderate", moderate(names, rounds=rounds, agreement=agreement))
        .add_node("judge", judged(chief), metadata={"agent": chief.agent.name})
        .add_node("decide", decide(names, rounds=rounds, early=early, tie_break=tie_break, tie_rounds=tie_rounds))
        .add_node("count", count())
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_conditional_edges("moderate", after_moderate, [*names, "judge", "count"])
        .add_edge("judge", "decide")
        .add_conditional_edges("decide", after_decide, [*names, *asking, "count"])
        .add_edge("count", "finish")
        .add_edge("finish", END)
    )
    if asking:
        wiring.add_node("person", person()).add_edge("person", "count")
    looks, judged_rounds = 2 if both_orders else 1, (rounds if early else 0) + 1 + more
    talk = total(b.calls for b in team).times(1, 1 + 2 * (rounds + more))
    return compiled(
        wiring,
        name="debate",
        agents=(*team, chief),
        steps=8 + 6 * (rounds + more),
        calls=talk + chief.calls.times(looks if early else 0, looks * judged_rounds),
    )


graph = build(
    [
        Agent(
            name="advocate",
            responsibility="Answers with what the documents say, and defends the answer that they support best.",
            tools=(SEARCH, READ, TABLES, QUERY, CALCULATE),
        ),
        Agent(
            name="sceptic",
            responsibility="Answers with what the documents say, and doubts whatever they do not say outright.",
            tools=(SEARCH, READ, TABLES, QUERY, CALCULATE),
        ),
    ],
    Agent(name="judge", responsibility="Says which of several answers is the best.", output=Verdict, tier="judge"),
)
