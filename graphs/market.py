"""Market: tasks are announced, bidders propose, the best bid wins, and its bidder does the work.

    begin -> announce -> bid, bid, ... -> evaluate -> award -> worker, worker, ... -> settle
                ^                                                                       |
                +--------------- again, without who failed; to more bidders ------------+
                                                                                        |
                                               finish <- conclude <- stand in, if named +

The task goes on the market as it is, or several, as a list in its `context["tasks"]` or from `split`.
Use it when it is not known beforehand who does a task best or cheapest. Cost: 1 model call per bid that
a model makes (functions bid for nothing), and 1 for the work; again for each award that fails.
Source: Smith, The Contract Net Protocol (1980); FIPA SC00029.
"""

import re
from collections.abc import Sequence
from typing import Literal

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from graphs.bidder import Bidder, bidder
from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.agent import Bound
from nodes.bidder import execute, propose
from nodes.market import (
    LAST_STEPS,
    MOST_ROUNDS,
    STEPS_PER_ROUND,
    announce,
    award,
    awards,
    calls,
    conclude,
    evaluate,
    left_over,
    settle,
    stand_in,
)
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import PERSON, Agent, Person
from state.auction import Bid, Rule, highest_utility
from state.concurrent import Splitter, tasks_of
from state.context import Context
from state.cost import NONE, either
from state.errors import ContractError
from state.market import Shown, State
from state.task import Task
from state.turn import Given
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES

ROLES = ("begin", "announce", "evaluate", "award", "settle", "conclude", "finish")


def build(
    bidders: Sequence[Bidder | Bindable],
    *,
    rule: Rule | None = None,
    split: Splitter = tasks_of,
    widen: Sequence[Sequence[Bidder | Bindable]] = (),
    escalate: Bindable | Person | None = None,
    max_rounds: int = 5,
    bid_seconds: float | None = None,
    work_seconds: float | None = None,
    weigh_reputation: float = 0.0,
    approve_award: bool = False,
) -> Graph:
    """The bidders, and the `rule` of the award (state.auction; `highest_utility`, by default).

    A task without a live bid goes to the next circle of `widen`, and at last to `escalate`, an agent or
    PERSON, who does it. Who refused, was late or failed is not called again for that task in this turn.
    `max_rounds` bounds how often a task is announced; one that waits for room is not announced again.
    Proposals later than `bid_seconds`, and work later than `work_seconds`, do not count: functions and
    models are cut off then, graphs and people are waited for, and late. Reputations weigh on an offer to
    the power of `weigh_reputation` (0: not at all). `approve_award` puts each round's awards to a person,
    by the run's policy.

    Raises ContractError for what cannot work, naming the agent and the mend.
    """
    circles = [[one if isinstance(one, Bidder) else bidder(one) for one in circle] for circle in (bidders, *widen)]
    team = [one for circle in circles for one in circle]
    last = _last(escalate)
    _check(circles, team, last, max_rounds, bid_seconds, work_seconds, weigh_reputation)
    by_name, names = {one.name: one for one in team}, [[one.name for one in circle] for circle in circles]
    asked, hands = [one.bids_as for one in team], [one.name for one in team]
    ends = [last.agent.name] if last else []

    async def after_announce(state: State) -> list[Send] | Literal["evaluate"]:
        return calls(state, by_name) or "evaluate"

    async def after_award(state: State) -> list[Send] | Literal["settle"]:
        return awards(state) or "settle"

    async def after_settle(state: State) -> list[Send] | str:
        missing = left_over(state, ends[0]) if ends and not state.get("spent") else []
        return "announce" if any(not lot["over"] for lot in state["lots"].values()) else missing or "conclude"

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
    for one in team:
        wiring.add_node(one.bids_as, propose(one), metadata={"agent": one.bid.agent.name})
        wiring.add_node(one.name, execute(one), metadata={"agent": one.name})
        wiring.add_edge(one.bids_as, "evaluate").add_edge(one.name, "settle")
    (
        wiring.add_node("begin", begin(State))
        .add_node("announce", announce(by_name, names, split=split, bid_seconds=bid_seconds, weigh=weigh_reputation))
        .add_node("evaluate", evaluate(by_name, rule or highest_utility(), weigh=weigh_reputation))
        .add_node("award", award(by_name, approve=approve_award, work_seconds=work_seconds))
        .add_node("settle", settle(by_name, names, max_rounds=max_rounds, weigh=weigh_reputation))
        .add_node("conclude", conclude())
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "announce")
        .add_conditional_edges("announce", after_announce, [*asked, "evaluate"])
        .add_edge("evaluate", "award")
        .add_conditional_edges("award", after_award, [*hands, "settle"])
        .add_conditional_edges("settle", after_settle, ["announce", *ends, "conclude"])
        .add_edge("conclude", "finish")
        .add_edge("finish", END)
    )
    if last:
        wiring.add_node(last.agent.name, stand_in(last), metadata={"agent": last.agent.name})
        wiring.add_edge(last.agent.name, "conclude")
    sold = (either(one.bid.calls for one in team) + either(one.work.calls for one in team)).unbounded()
    stood_in = [(sold.times(0, 1) + last.calls).unbounded()] if last else []
    return compiled(
        wiring,
        name="market",
        agents=[*(bound for one in team for bound in (one.work, one.bid)), *([last] if last else [])],
        steps=STEPS_PER_ROUND * max(MOST_ROUNDS, max_rounds) + LAST_STEPS,
        calls=either([sold, *stood_in]) if team else NONE,
    )


def _last(escalate: Bindable | Person | None) -> Bound | None:
    if isinstance(escalate, Person):
        return bind(Agent(name="person", responsibility="Does what no bidder did"), PERSON)
    return None if escalate is None else bind(escalate)


def _check(
    circles: list[list[Bidder]],
    team: list[Bidder],
    last: Bound | None,
    max_rounds: int,
    bid_seconds: float | None,
    work_seconds: float | None,
    weigh: float,
) -> None:
    if not all(circles):
        raise ContractError("market: `bidders`, or a circle of `widen`, is empty; give at least one bidder")
    take_tasks("market", [bound for one in team for bound in (one.work, one.bid)] + ([last] if last else []))
    hands = [one.work for one in team] + ([last] if last else [])
    distinct("market", hands, taken=(*ROLES, *(one.bids_as for one in team)))
    if max_rounds < 1:
        raise ContractError(f"market: `max_rounds` must be at least 1, not {max_rounds}")
    for name, seconds in (("bid_seconds", bid_seconds), ("work_seconds", work_seconds)):
        if seconds is not None and not seconds > 0:
            raise ContractError(f"market: `{name}` must be above 0, not {seconds}")
    if not 0 <= weigh <= 10:
        raise ContractError(f"market: `weigh_reputation` must be from 0 to 10, not {weigh}")


def _figures(task: Task) -> Bid:
    """The calculator's bid: it takes what asks for a number, and nothing else."""
    asks = re.search(
        r"\d\s*[-+*/×%]|\b(how (much|many)|sum|total|average|percent|calculate|compute)\b", task.goal, re.I
    )
    return Bid(utility=0.9, why="it asks for a number") if asks else Bid(refuse=True, why="nothing to compute")


def _material(task: Task) -> Bid:
    """The writer's bid: good where the task brings its own material."""
    known = [name for name in task.context if name != "call for proposals"]
    return Bid(utility=0.8 if known else 0.2, why="the task brings its material" if known else "there is no material")


graph = build(
    [
        bidder(
            Agent(
                name="calculator",
                responsibility="Finds and computes figures, from what is given, from tables or from documents.",
                tools=(CALCULATE, TABLES, QUERY, SEARCH),
            ),
            bid=_figures,
        ),
        bidder(
            Agent(name="reader", responsibility="Answers from documents, with sources.", tools=(SEARCH, READ)),
            bid=lambda task: Bid(utility=0.6, why="the documents may say it"),
        ),
        bidder(Agent(name="writer", responsibility="Answers from what the task itself brings."), bid=_material),
    ]
)
