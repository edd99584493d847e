"""What a market does when somebody fails, nobody bids, a person has a word in it, or the bidders are known already."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.types import Command
from makers import scripted
from test_market import CONFIG, agent, bids, breaks, lot, no, several, who_did, worker

from graphs import critic
from graphs.bind import bind
from graphs.market import bidder, build
from runtime.persistence import Persistence
from runtime.travel import at
from state.agent import ABORT, PERSON
from state.auction import Bid, lowest_cost
from state.critic import Critique
from state.task import Task

# Failures, widening, escalation


@pytest.mark.parametrize("policy", [{}, {"on_failure": ABORT}])
async def test_a_winner_that_fails_is_excluded_and_the_task_announced_again(policy: Any) -> None:
    team = [bids("ann", 1, work=breaks("ann", **policy)), bids("ben", 2)]
    out = await build(team, rule=lowest_cost()).ainvoke({"task": "dig"})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "dig by ben")
    assert out["reason"] == "ann: out of ink"
    (first,), now = lot(out)["past"], lot(out)["contract"]
    assert (first["epoch"], first["winner"], first["end"]) == (1, "ann", "failure")
    assert (now["epoch"], now["called"], now["end"]) == (2, ["ben"], "inform")


async def test_a_winner_that_does_not_come_to_an_end_in_time_counts_as_dead() -> None:
    async def hangs(task: Task) -> str:
        await asyncio.sleep(30)
        return "too late"

    team = [bids("ann", 1, work=bind(agent("ann"), hangs)), bids("ben", 2)]
    out = await build(team, rule=lowest_cost(), work_seconds=0.2).ainvoke({"task": "dig"})
    assert out["answer"]["text"] == "dig by ben"
    assert lot(out)["past"][0]["end"] == "expired"


async def test_no_bid_at_all_widens_to_the_next_circle_and_calls_nobody_twice() -> None:
    asked: list[str] = []

    def bid(name: str, said: Bid) -> Callable[[Task], Bid]:
        return lambda task: asked.append(name) or said  # type: ignore[func-returns-value]

    circles = [[bidder(worker(n), bid=bid(n, b))] for n, b in (("ann", no("no")), ("ben", no("nor I")), ("cem", Bid()))]
    out = await build(circles[0], widen=circles[1:]).ainvoke({"task": "dig"})
    assert (out["outcome"], out["answer"]["text"], asked) == ("completed", "dig by cem", ["ann", "ben", "cem"])
    assert lot(out)["circle"] == 2


async def test_without_any_bid_it_fails_and_says_what_each_bidder_said() -> None:
    team = [bidder(worker("ann"), bid=lambda task: no("too deep")), bidder(breaks("ben"))]
    out = await build(team).ainvoke({"task": "dig"})
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert out["reason"] == "nobody did it: ann refused: too deep; ben: out of ink"


async def test_what_no_bidder_does_goes_to_an_agent_with_the_whole_case() -> None:
    seen: list[Task] = []

    def boss(task: Task) -> str:
        seen.append(task)
        return "I did it"

    team = [bidder(worker("ann"), bid=lambda task: no("too deep"))]
    out = await build(team, escalate=boss).ainvoke({"task": "dig"})
    assert (out["outcome"], out["answer"]["text"], out["messages"][-1].name) == ("completed", "I did it", "boss")
    assert out["reason"] == "no bidder did it: ann refused: too deep"
    assert (seen[0].goal, seen[0].context["market"]) == ("dig", "ann refused: too deep")


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [({"type": "respond", "message": "by hand"}, "completed"), ({"type": "reject", "message": "nor I"}, "failed")],
)
async def test_what_no_bidder_does_may_go_to_a_person(decision: Any, outcome: str, memory: Persistence) -> None:
    graph = memory.bind(build([bidder(worker("ann"), bid=lambda task: no("too deep"))], escalate=PERSON))
    waiting = await graph.ainvoke({"task": "dig"}, CONFIG)
    (question,) = waiting["__interrupt__"]
    assert question.value["case"]["task"]["context"]["market"] == "ann refused: too deep"
    out = await graph.ainvoke(Command(resume={"decisions": [decision]}), CONFIG)
    assert out["outcome"] == outcome
    assert ("nor I" in out["reason"]) is (outcome == "failed")


@pytest.mark.parametrize("rounds", [1, 2])
async def test_max_rounds_bounds_the_announcements(rounds: int) -> None:
    team = [bids(n, work=breaks(n)) for n in ("ann", "ben", "cem")]
    out = await build(team, max_rounds=rounds).ainvoke({"task": "dig"})
    assert (out["outcome"], lot(out)["contract"]["epoch"]) == ("failed", rounds)
    assert f"still open after {rounds} announcement(s)" in out["reason"]
    assert "ann: out of ink" in out["reason"]


async def test_it_ends_well_before_a_limit_from_outside() -> None:
    team = [bids(n, work=breaks(n)) for n in ("ann", "ben", "cem", "dan", "eve")]
    out = await build(team).ainvoke({"task": "dig"}, {"recursion_limit": 20})
    assert out["outcome"] == "failed"
    assert "the most that there are steps for" in out["reason"]


async def test_a_degraded_piece_of_work_makes_the_answer_degraded_and_is_named() -> None:
    judge = scripted("judge", [("Critique", {"verdict": "revise"})], output=Critique)
    inner = critic.build(worker("ann"), [judge], max_rounds=1)
    out = await build([bidder(bind(agent("team"), inner))]).ainvoke({"task": "dig"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "dig by ann")
    assert out["reason"]


async def test_a_spent_budget_ends_the_market_with_what_was_done() -> None:
    team = [bids("ann", 1), bids("ben", 2, work=scripted("ben", "done"))]
    out = await build(team, rule=lowest_cost()).ainvoke(several("1", "2"), context={"max_tokens": 1})
    assert (out["outcome"], who_did(out), out["answer"]["missing"]) == ("out_of_budget", {"1": "ann"}, ["2"])
    costly = bidder(worker("ann"), bid=scripted("estimator", [("Bid", {})], output=Bid))
    out = await build([costly, bids("ben")]).ainvoke({"task": "dig"}, context={"max_tokens": 1})
    assert (out["outcome"], out["answer"]) == ("out_of_budget", None)


# A person approves the awards


async def approved(memory: Persistence, *decisions: Any) -> dict[str, Any]:
    team = [bids("ann", 1), bids("ben", 2)]
    graph = memory.bind(build(team, rule=lowest_cost(), approve_award=True))
    waiting = await graph.ainvoke(several("wall", "roof"), CONFIG)
    (question,) = waiting["__interrupt__"]
    actions = question.value["action_requests"]
    assert [(a["name"], a["args"]["task"], a["args"]["bidder"]) for a in actions] == [
        ("award", "wall", "ann"),
        ("award", "roof", "ben"),
    ]
    assert set(actions[0]["args"]["proposals"]) == {"ann", "ben"}
    out: dict[str, Any] = await graph.ainvoke(Command(resume={"decisions": list(decisions)}), CONFIG)
    return out


async def test_awards_wait_for_a_person_in_one_question(memory: Persistence) -> None:
    out = await approved(memory, {"type": "approve"}, {"type": "approve"})
    assert (out["outcome"], who_did(out)) == ("completed", {"wall": "ann", "roof": "ben"})


async def test_a_person_may_give_an_award_to_another_proposer_within_capacity(memory: Persistence) -> None:
    both = [{"type": "edit", "args": {"bidder": name}} for name in ("ben", "ann")]
    out = await approved(memory, *both)
    assert who_did(out) == {"wall": "ben", "roof": "ann"}
    assert lot(out)["pick"] == {"bidder": "ben", "price": 2}


@pytest.mark.parametrize(("name", "words"), [("zoe", "one of ann, ben"), ("ben", "more tasks than there is room for")])
async def test_an_award_to_who_did_not_propose_or_has_no_room_is_refused(
    name: str, words: str, memory: Persistence
) -> None:
    with pytest.raises(Exception, match=words):
        await approved(memory, {"type": "edit", "args": {"bidder": name}}, {"type": "approve"})


async def test_an_award_that_is_not_approved_is_announced_again_without_that_bidder(memory: Persistence) -> None:
    out = await approved(memory, {"type": "reject", "message": "not ann"}, {"type": "approve"})
    assert lot(out)["past"][0]["verdicts"] == {"ann": "reject", "ben": "reject"}
    assert lot(out)["excluded"]["ann"] == "not approved: not ann"
    assert out["__interrupt__"][0].value["action_requests"][0]["args"]["bidder"] == "ben"


async def test_without_a_person_the_policy_of_the_run_decides() -> None:
    graph = build([bids("ann")], approve_award=True)
    assert (await graph.ainvoke({"task": "dig"}, context={"approve": "auto"}))["outcome"] == "completed"
    denied = await graph.ainvoke({"task": "dig"}, context={"approve": "deny"})
    assert (denied["outcome"], "not approved" in denied["reason"]) == ("failed", True)


# Reputation


async def test_reputation_outlives_turns_and_threads_and_weighs_the_next_evaluation(memory: Persistence) -> None:
    team = [bids("ann", 1, work=breaks("ann")), bids("ben", 1.5)]
    graph = memory.bind(build(team, rule=lowest_cost(), weigh_reputation=1))
    first = await graph.ainvoke({"task": "dig"}, at("one"))
    assert lot(first)["past"][0]["winner"] == "ann"
    second = await graph.ainvoke({"task": "dig again"}, at("two"))
    assert (lot(second)["contract"]["winner"], lot(second)["past"]) == ("ben", [])
    blind = memory.bind(build(team, rule=lowest_cost()))
    third = await blind.ainvoke({"task": "dig again"}, at("three"))
    assert lot(third)["past"][0]["winner"] == "ann"


async def test_within_a_turn_reputations_weigh_without_a_store_too() -> None:
    def bid(task: Task) -> Bid:
        return Bid(cost=1)

    half = bind(agent("ann"), lambda task: 1 / 0 if task.goal == "1" else "done")
    team = [bidder(half, bid=bid), bids("ben", 1.5, capacity=2)]
    for weigh, winner in ((1, "ben"), (0, "ann")):
        graph = build(team, rule=lowest_cost(), weigh_reputation=weigh)
        assert who_did(await graph.ainvoke(several(*"1234")))["4"] == winner
