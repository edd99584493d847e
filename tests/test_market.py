import asyncio
import random
from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from makers import scripted
from scripted import Scripted

from benchmarks.market import drawn, holds, negotiated
from graphs import market, pipeline
from graphs.bind import Bindable, bind
from graphs.market import bidder, build
from nodes.agent import Bound
from nodes.bidder import Bidder
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at
from state.agent import PERSON, Agent, Text
from state.auction import Bid, Rule, first_price, highest_utility, lowest_cost, second_price
from state.errors import ContractError, InputError
from state.market import Allocated
from state.task import Task


def make(who: Bindable) -> Graph:
    """What the conformance suite runs. Whoever wins works with somebody who reads it once more: two model calls."""
    work = pipeline.build([who, scripted("reader", "the answer, read once more")])
    return build([bidder(bind(agent("team"), work)), bidder(worker("idler"), bid=lambda task: no("busy"))])


CONFIG: Any = at("t")


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Does {name}.", **options)


def no(why: str) -> Bid:
    return Bid(refuse=True, why=why)


def worker(name: str, log: list[str] | None = None, **options: Any) -> Bound:
    """Says who did what."""

    def work(task: Task) -> str:
        if log is not None:
            log.append(f"{name} {task.goal}")
        return f"{task.goal} by {name}"

    return bind(agent(name, **options), work)


def bids(
    name: str, cost: float = 1, *, work: Bindable | None = None, capacity: int = 1, load: Any = 0, **bid: Any
) -> Bidder:
    return bidder(work or worker(name), bid=lambda task: Bid(cost=cost, **bid), capacity=capacity, load=load)


def breaks(name: str, **options: Any) -> Bound:
    def broken(task: Any) -> Any:
        raise ValueError("out of ink")

    return bind(agent(name, **options), broken)


def several(*goals: str) -> dict[str, Any]:
    return {"task": {"goal": "all of it", "context": {"tasks": list(goals)}}}


def who_did(out: dict[str, Any]) -> dict[str, str]:
    return {r["task"]: r["by"] for r in out["answer"]["results"]}


def lot(out: dict[str, Any], key: str = "1") -> dict[str, Any]:
    found: dict[str, Any] = out["lots"][key]
    return found


# Announce, propose or refuse, evaluate, award, work


async def test_the_best_bid_wins_and_its_bidder_does_the_work() -> None:
    done: list[str] = []
    team = [bids(n, c, work=worker(n, done)) for n, c in (("ann", 3), ("ben", 2), ("cem", 5))]
    out = await build(team, rule=lowest_cost()).ainvoke({"task": "dig"})
    assert (out["answer"]["text"], out["outcome"], out["reason"]) == ("dig by ben", "completed", "")
    assert (done, out["messages"][-1].name) == (["ben dig"], "ben")


async def test_every_proposer_gets_exactly_one_word_and_who_refuses_none() -> None:
    team = [bids("ann", 3), bids("ben", 2), bidder(worker("cem"), bid=lambda task: no("away"))]
    out = await build(team, rule=lowest_cost()).ainvoke({"task": "dig"})
    contract = lot(out)["contract"]
    assert contract["verdicts"] == {"ann": "reject", "ben": "accept"}
    assert {who: a["kind"] for who, a in contract["answers"].items()} == {
        "ann": "propose",
        "ben": "propose",
        "cem": "refuse",
    }
    assert (contract["winner"], contract["end"]) == ("ben", "inform")


async def test_bidders_bid_in_parallel() -> None:
    at_once, most = [0], [0]

    async def bid(task: Task) -> Bid:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        await asyncio.sleep(0.05)
        at_once[0] -= 1
        return Bid()

    await build([bidder(worker(n), bid=bid) for n in ("a", "b", "c")]).ainvoke({"task": "dig"})
    assert most == [3]


async def test_an_agent_may_bid_and_sees_the_task_and_not_the_other_bids() -> None:
    model = Scripted(script=lambda m, t: [("Bid", {"cost": 7, "why": "hard"})])
    estimator = bind(agent("estimator", output=Bid), model)
    team = [bidder(worker("ann"), bid=estimator), bids("ben", 123456)]
    out = await build(team, rule=lowest_cost()).ainvoke({"task": {"goal": "dig", "constraints": ["deep"]}})
    assert (out["answer"]["text"], lot(out)["pick"]["price"]) == ("dig by ann", 7)
    (seen,) = model.calls
    assert [w for w in ("dig", "deep", "Bid for this task") if w not in seen[1].text] == []
    assert "123456" not in seen[1].text


async def test_a_bid_that_fails_or_fits_nothing_is_not_understood_and_the_market_goes_on() -> None:
    def fails(task: Task) -> Bid:
        raise ValueError("no pencil")

    team = [bidder(worker("ann"), bid=fails), bidder(worker("ben"), bid=lambda task: {"cost": -1}), bids("cem", 9)]
    out = await build(team).ainvoke({"task": "dig"})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "dig by cem")
    assert {w: a["kind"] for w, a in lot(out)["contract"]["answers"].items()} == {
        "ann": "not_understood",
        "ben": "not_understood",
        "cem": "propose",
    }
    assert "no pencil" in lot(out)["excluded"]["ann"]


async def test_a_late_proposal_is_answered_as_late_and_ignored() -> None:
    async def slow(task: Task) -> Bid:
        await asyncio.sleep(30)
        return Bid(cost=0)

    team = [bidder(worker("ann"), bid=slow), bids("ben", 9)]
    out = await build(team, rule=lowest_cost(), bid_seconds=0.2).ainvoke({"task": "dig"})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "dig by ben")
    assert lot(out)["excluded"]["ann"].startswith("late")
    assert "ann" not in lot(out)["contract"]["answers"]
    assert lot(out)["contract"]["late"] == ["ann"]


async def test_a_person_who_bids_after_the_deadline_is_late_and_one_before_it_is_not(memory: Persistence) -> None:
    for seconds, winner in ((0.05, "ben"), (60.0, "ann")):
        asked = bind(agent("estimator", output=Bid), PERSON)
        team = [bidder(worker("ann"), bid=asked), bids("ben", 9)]
        graph = memory.bind(build(team, rule=lowest_cost(), bid_seconds=seconds))
        thread: Any = at(f"person-{seconds}")
        waiting = await graph.ainvoke({"task": "dig"}, thread)
        assert waiting["__interrupt__"][0].value["kind"] == "input"
        await asyncio.sleep(0.1)
        answer = {"decisions": [{"type": "respond", "message": '{"cost": 1}'}]}
        out = await graph.ainvoke(Command(resume=answer), thread)
        assert (out["outcome"], out["answer"]["text"]) == ("completed", f"dig by {winner}")


async def test_a_bidder_without_a_bid_of_its_own_bids_its_cost_and_skills() -> None:
    team = [bidder(worker("ann"), skills=["ships"]), bidder(worker("ben"), skills=["tides", "harbours"])]
    out = await build(team).ainvoke({"task": "When do the tides turn in harbours?"})
    assert out["messages"][-1].name == "ben"
    cheap = [bidder(worker("ann"), cost=2), bidder(worker("ben"), cost=1)]
    assert (await build(cheap, rule=lowest_cost()).ainvoke({"task": "dig"}))["messages"][-1].name == "ben"


# The rules


@pytest.mark.parametrize(
    ("rule", "winner", "price"),
    [
        (lowest_cost(), "ann", 2),
        (highest_utility(), "cem", 4),
        (highest_utility(lambda offer: offer["utility"] - offer["cost"]), "ann", 2),
        (first_price(), "ben", 5),
        (second_price(), "ben", 6),
        (first_price(selling=True), "cem", 8),
        (second_price(selling=True), "cem", 6),
        (second_price(reserve=5.5), "ben", 5.5),
    ],
    ids=["lowest", "utility", "own", "first", "second", "sale", "second sale", "reserve"],
)
async def test_the_rule_says_who_wins_and_at_which_price(rule: Rule, winner: str, price: float) -> None:
    team = [
        bids("ann", 2, price=6, utility=0.5),
        bids("ben", 3, price=5, utility=0.7, confidence=0.5),
        bids("cem", 4, price=8, utility=0.6),
    ]
    out = await build(team, rule=rule).ainvoke({"task": "dig"})
    assert (out["answer"]["text"], lot(out)["pick"]["price"]) == (f"dig by {winner}", price)


async def test_ties_go_to_the_lower_load_and_then_by_name() -> None:
    team = [bids("ann", capacity=9, load=1), bids("cem", capacity=9), bids("ben", capacity=9)]
    assert (await build(team).ainvoke({"task": "dig"}))["messages"][-1].name == "ben"
    out = await build(team).ainvoke(several("1", "2", "3", "4"))
    assert who_did(out) == {"1": "ben", "2": "cem", "3": "ann", "4": "ben"}


async def test_without_an_offer_within_the_reserve_there_is_no_award() -> None:
    out = await build([bids("ann", 9)], rule=first_price(reserve=5)).ainvoke({"task": "dig"})
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert "its offer does not pass first_price" in out["reason"]


# Several tasks, capacity and load


async def test_several_tasks_are_allocated_in_one_round_each_to_its_best_bidder() -> None:
    def bid(task: Task) -> Bid:
        return Bid(cost=1 if task.goal == "roof" else 5)

    team = [bidder(worker("ann"), bid=bid), bids("ben", 3)]
    out = await build(team, rule=lowest_cost()).ainvoke(several("wall", "roof"))
    assert who_did(out) == {"wall": "ben", "roof": "ann"}
    assert (out["outcome"], out["reason"]) == ("completed", "")
    assert Allocated.model_validate(out["answer"]).results[0].output["text"] == "wall by ben"
    assert [one["contract"]["epoch"] for one in out["lots"].values()] == [1, 1]


async def test_awards_are_executed_in_parallel_and_never_beyond_capacity() -> None:
    busy: dict[str, int] = {}
    most: dict[str, int] = {}

    def slow(name: str) -> Bound:
        async def work(task: Task) -> str:
            busy[name] = busy.get(name, 0) + 1
            busy["all"] = busy.get("all", 0) + 1
            most.update({key: max(most.get(key, 0), busy[key]) for key in (name, "all")})
            await asyncio.sleep(0.02)
            busy[name], busy["all"] = busy[name] - 1, busy["all"] - 1
            return "done"

        return bind(agent(name), work)

    team = [bids("ann", 1, work=slow("ann"), capacity=2), bids("ben", 2, work=slow("ben"), capacity=3, load=2)]
    out = await build(team, rule=lowest_cost()).ainvoke(several(*"12345"))
    assert (out["outcome"], len(out["answer"]["results"])) == ("completed", 5)
    assert most == {"ann": 2, "ben": 1, "all": 3}


async def test_a_load_is_asked_in_every_round_and_who_is_full_is_not_called() -> None:
    loads = iter([1, 0])
    team = [bids("ann", 1, load=lambda: next(loads)), bids("ben", 2, work=breaks("ben"))]
    out = await build(team, rule=lowest_cost()).ainvoke({"task": "dig"})
    assert out["answer"]["text"] == "dig by ann"
    assert [c["called"] for c in (*lot(out)["past"], lot(out)["contract"])] == [["ben"], ["ann"]]


async def test_tasks_wait_for_room_with_the_proposals_they_have() -> None:
    asked: list[str] = []

    def bid(task: Task) -> Bid:
        asked.append(task.goal)
        return Bid()

    goals = [str(n) for n in range(12)]
    out = await build([bidder(worker("ann"), bid=bid)], max_rounds=1).ainvoke(several(*goals))
    assert (out["outcome"], list(who_did(out)), asked) == ("completed", goals, goals)
    assert {one["contract"]["epoch"] for one in out["lots"].values()} == {1}


async def test_who_has_room_for_nothing_is_waited_for_only_while_the_market_moves() -> None:
    free = [1]
    out = await build([bids("ann", load=lambda: 0 if free and free.pop() else 1)]).ainvoke(several("1", "2"))
    assert (out["outcome"], who_did(out)) == ("degraded", {"1": "ann"})
    assert out["reason"] == "nobody did '2': still open after 5 announcement(s)"
    assert out["lots"]["2"]["past"][0]["verdicts"] == {"ann": "reject"}
    full = await build([bids("ann", load=1)]).ainvoke({"task": "dig"})
    assert (full["outcome"], full["reason"]) == ("failed", "nobody did it: nobody has room for it")


async def test_a_function_may_split_the_task() -> None:
    graph = build([bids("ann", capacity=3)], split=lambda task: task.goal.split(" and "))
    assert who_did(await graph.ainvoke({"task": "wall and roof"})) == {"wall": "ann", "roof": "ann"}


async def test_what_some_do_not_do_is_missing_by_name_and_the_answer_degraded() -> None:
    def bid(task: Task) -> Bid:
        return no("too high") if task.goal == "roof" else Bid()

    out = await build([bidder(worker("ann"), bid=bid, capacity=2)]).ainvoke(several("wall", "roof"))
    assert (out["outcome"], out["answer"]["missing"], who_did(out)) == ("degraded", ["roof"], {"wall": "ann"})
    assert out["reason"] == "nobody did 'roof': ann refused: too high"


@pytest.mark.parametrize("tasks", [[], "x", [{"aim": 1}], [3]])
async def test_what_is_no_task_is_refused(tasks: Any) -> None:
    with pytest.raises(InputError):
        await build([bids("ann")]).ainvoke({"task": {"goal": "all", "context": {"tasks": tasks}}})


# What build refuses, what it costs, what it looks like


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: build([]), "`bidders`.*is empty"),
        (lambda: build([bids("ann")], widen=[[]]), "circle of `widen`, is empty"),
        (lambda: build([bids("ann"), bids("ann")]), "'ann'.*rename"),
        (lambda: build([bids("ann")], widen=[[bids("ann")]]), "'ann'.*rename"),
        (lambda: build([bids("award")]), "'award'.*rename"),
        (lambda: build([bids("ann"), bids("ann_bid")]), "'ann_bid'.*rename"),
        (lambda: build([bids("ann")], escalate=agent("ann")), "'ann'.*rename"),
        (lambda: build([bidder(agent("ann", input=Text))]), "'ann' takes Text"),
        (lambda: bidder(agent("ann"), bid=agent("bids")), "'ann' must return a Bid.*'bids'"),
        (lambda: bidder(agent("ann"), bid=42), "is no agent"),
        (lambda: bidder(agent("ann"), capacity=0), "`capacity`"),
        (lambda: bidder(agent("ann"), load=-1), "`load`"),
        (lambda: build([bids("ann")], max_rounds=0), "`max_rounds`"),
        (lambda: build([bids("ann")], bid_seconds=0), "`bid_seconds`"),
        (lambda: build([bids("ann")], work_seconds=-1), "`work_seconds`"),
        (lambda: build([bids("ann")], weigh_reputation=-1), "`weigh_reputation`"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(wrong: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        wrong()


async def test_the_cost_is_as_the_catalogue_says_and_within_what_the_graph_declares() -> None:
    def one(name: str, cost: float, says: Any) -> Bidder:
        estimator = scripted(f"{name}_estimator", [("Bid", {"cost": cost})], output=Bid)
        return bidder(says if isinstance(says, Bound) else scripted(name, says), bid=estimator)

    graph = build([one("ann", 1, "done"), one("ben", 2, "done")], rule=lowest_cost())
    used = (await graph.ainvoke({"task": "dig"}))["usage"]["total"]["calls"]
    assert used == formula("market", bids=2, executions=1, escalations=0) == 3
    assert (calls_of(graph).least, calls_of(graph).most) == (2, None)
    used = (await graph.ainvoke(several("1", "2")))["usage"]["total"]["calls"]
    assert used == formula("market", bids=4, executions=2, escalations=0)
    fails = build([one("ann", 1, breaks("ann"))], escalate=scripted("boss", "done"))
    used = (await fails.ainvoke({"task": "dig"}))["usage"]["total"]["calls"]
    assert used == formula("market", bids=1, executions=0, escalations=1)
    assert calls_of(build([bids("ann")])).most == 0


def test_the_drawing_reads_like_the_figure() -> None:
    edges = sorted((e.source, e.target, e.conditional) for e in build([bids("ann")], escalate=PERSON).get_graph().edges)
    assert edges == [
        ("__start__", "begin", False),
        ("ann", "settle", False),
        ("ann_bid", "evaluate", False),
        ("announce", "ann_bid", True),
        ("announce", "evaluate", True),
        ("award", "ann", True),
        ("award", "settle", True),
        ("begin", "announce", False),
        ("conclude", "finish", False),
        ("evaluate", "award", False),
        ("finish", "__end__", False),
        ("person", "conclude", False),
        ("settle", "announce", True),
        ("settle", "conclude", True),
        ("settle", "person", True),
    ]


async def test_the_default_graph_runs_without_a_key() -> None:
    sum_ = await market.graph.ainvoke({"task": "What is 12 * 7 + 3?"})
    assert (sum_["outcome"], sum_["messages"][-1].name) == ("completed", "calculator")
    given = {"goal": "What is the capital of France?", "context": {"atlas": "Paris is the capital of France."}}
    text = await market.graph.ainvoke({"task": given})
    assert (text["messages"][-1].name, "Paris" in text["answer"]["text"]) == ("writer", True)


def test_a_large_market_keeps_its_promises_and_comes_near_the_optimum() -> None:
    dice = random.Random(1)
    costs = drawn(dice, 30, 15, "independent")
    found = negotiated(costs, {name: dice.randint(1, 2) for name, _ in sorted(costs)}, dice, faults=True)
    assert holds(found)
