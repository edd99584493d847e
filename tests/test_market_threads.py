"""A market over turns, crashes and forks, nested and below others."""

import asyncio

import pytest
from langgraph.types import Command
from makers import scripted
from test_market import CONFIG, agent, bids, breaks, lot, several, worker

from graphs import pipeline
from graphs.bind import bind
from graphs.market import bidder, build
from runtime.persistence import Persistence
from runtime.travel import fork
from state.agent import PERSON, Text
from state.auction import Bid, lowest_cost
from state.record import Record, repeated
from state.task import Task


class Crash(BaseException):
    pass


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    graph = memory.bind(build([bids("ann", 1, work=breaks("ann")), bids("ben", 2)], rule=lowest_cost()))
    for _ in range(2):
        out = await graph.ainvoke({"task": "dig"}, CONFIG)
        assert [c["winner"] for c in lot(out)["past"]] == ["ann"]
        assert list(out["lots"]) == ["1"]


async def test_after_a_crash_no_bid_and_no_finished_work_is_repeated(sqlite: Persistence) -> None:
    done: list[str] = []

    async def crash_once(task: Task) -> str:
        done.append("ben")
        if done.count("ben") == 1:
            await asyncio.sleep(0.1)
            raise Crash
        return "done"

    estimator = scripted("estimator", [("Bid", {"cost": 1})], output=Bid)
    team = [bidder(worker("ann", done), bid=estimator), bidder(bind(agent("ben"), crash_once), bid=estimator)]
    graph = sqlite.bind(build(team, bid_seconds=60))
    with pytest.raises(Crash):
        await graph.ainvoke(several("1", "2"), CONFIG, durability="sync")
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["outcome"], sorted(done)) == ("completed", ["ann 1", "ben", "ben"])
    assert out["usage"]["estimator"]["calls"] == 4
    assert repeated(records(sqlite)) == []


async def test_an_answer_from_before_a_crash_is_not_late_after_it(sqlite: Persistence) -> None:
    crashes = [1]

    async def crash(task: Task) -> Bid:
        if crashes:
            await asyncio.sleep(0.2)  # the other has answered by then
            raise Crash
        return Bid(cost=9)

    both = [bids("ann", 1), bidder(worker("ben"), bid=crash)]
    graph = sqlite.bind(build(both, rule=lowest_cost(), bid_seconds=0.5))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "dig"}, CONFIG, durability="sync")
    crashes.clear()
    await asyncio.sleep(0.5)
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert out["answer"]["text"] == "dig by ann"
    assert lot(out)["excluded"]["ben"].startswith("late")


async def test_a_fork_before_the_award_may_give_it_to_another(memory: Persistence) -> None:
    graph = memory.bind(build([bids("ann", 1), bids("ben", 2)], rule=lowest_cost()))
    first = await graph.ainvoke({"task": "dig"}, CONFIG, durability="sync")
    step = await anext(s async for s in graph.aget_state_history(CONFIG) if s.next == ("award",))
    lots = {"1": {**step.values["lots"]["1"], "pick": {"bidder": "ben", "price": 2.0}}}
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values={"lots": lots})
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (first["answer"]["text"], out["answer"]["text"]) == ("dig by ann", "dig by ben")


async def test_the_book_has_the_whole_conversation_once(memory: Persistence) -> None:
    graph = memory.bind(build([bids("ann", 1), bids("ben", 2)], rule=lowest_cost()))
    await graph.ainvoke({"task": "dig"}, CONFIG)
    said = [(r["agent"], r["to"], r["content"]["says"]) for r in records(memory) if r["kind"] == "message"]
    assert sorted(said) == [
        ("ann", "market", "inform"),
        ("ann", "market", "propose"),
        ("ben", "market", "propose"),
        ("market", "ann", "accept_proposal"),
        ("market", "ann", "cfp"),
        ("market", "ben", "cfp"),
        ("market", "ben", "reject_proposal"),
    ]


async def test_patterns_bid_and_work_and_a_market_is_an_agent_too() -> None:
    counts = bind(agent("counts", input=Text, output=Bid), lambda said: Bid(cost=len(said.text)))
    thinks = pipeline.build([scripted("thinker", "12345"), counts])
    inner = build([bidder(pipeline.build([worker("ann")]), bid=bind(agent("office", output=Bid), thinks))])
    outer = build([bidder(bind(agent("team"), inner), skills=["dig"]), bids("ben", utility=0)])
    out = await outer.ainvoke({"task": "dig"})
    assert (out["answer"]["text"], out["outcome"]) == ("dig by ann", "completed")
    assert {name for name, _ in outer.get_subgraphs(recurse=True)} >= {"team", "team|pipeline", "team|pipeline_bid"}
    assert out["usage"]["thinker"]["calls"] == 1


async def test_a_person_may_be_the_one_who_does_the_work(memory: Persistence) -> None:
    graph = memory.bind(build([bidder(bind(agent("ann"), PERSON), bid=lambda task: Bid())]))
    waiting = await graph.ainvoke({"task": "dig"}, CONFIG)
    assert waiting["__interrupt__"][0].value["kind"] == "input"
    answer = {"decisions": [{"type": "respond", "message": "dug"}]}
    assert (await graph.ainvoke(Command(resume=answer), CONFIG))["answer"]["text"] == "dug"
