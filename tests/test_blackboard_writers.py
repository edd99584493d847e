"""Concurrent writers at a blackboard: versions, retries, and what resolves the conflicts that are left."""

from typing import Any

import pytest
from langgraph.types import Command
from makers import scripted
from test_blackboard import CONFIG, adds, agent, breaks, calls, told, writes

from graphs.bind import bind
from graphs.blackboard import Source, build
from runtime.persistence import Persistence
from state.agent import PERSON
from state.arbitration import Ruling, priority, vote
from state.board import when


async def test_of_concurrent_writers_one_wins_and_the_others_read_again_and_lose_nothing() -> None:
    out = await build([adds(name) for name in "abcd"], at_once=None, max_retries=9).ainvoke({"task": "go"})
    assert (out["board"]["count"]["value"], out["board"]["count"]["version"]) == (4, 4)
    assert (len(told(out, "wrote")), out["outcome"]) == (4, "completed")
    first = [e for e in out["log"] if e["round"] == 1]
    assert [e["what"] for e in first] == ["wrote", "retries", "retries", "retries"]


async def test_several_entries_are_written_all_or_none() -> None:
    left = Source(who=writes("a", {"x": "a", "y": "a"}), trigger=when(without="x"), writes=["x", "y"])
    right = Source(who=writes("b", {"y": "b", "z": "b"}), trigger=when(without="z"), writes=["y", "z"])
    out = await build([left, right], at_once=None, max_retries=0).ainvoke({"task": "go"})
    assert {e: v["by"] for e, v in out["board"].items()} == {"x": "a", "y": "a"}
    assert out["reason"] == "b lost y to others 1 time(s)"


async def test_retries_are_bounded_and_a_write_that_is_lost_is_said() -> None:
    out = await build([adds("a"), adds("b")], at_once=None, max_retries=0).ainvoke({"task": "go"})
    assert (out["board"]["count"]["value"], out["outcome"]) == (1, "degraded")
    assert out["reason"] == "b lost count to others 1 time(s)"
    assert told(out, "lost") == [("b", ["count", "done-b"])]


async def test_who_reads_again_needs_its_trigger_to_hold_still() -> None:
    team = [Source(who=writes(n, {"first": n}), trigger=when(without="first"), writes=["first"]) for n in "ab"]
    out = await build(team, at_once=None).ainvoke({"task": "go"})
    assert (out["board"]["first"]["by"], told(out, "retries")) == ("a", [("b", ["first"])])
    assert (len(told(out, "wrote")), out["outcome"]) == (1, "completed")


async def test_rules_resolve_what_retries_do_not_and_keep_every_side() -> None:
    team = [Source(who=scripted(n, f"by {n}"), writes=["answer"]) for n in "abc"]
    graph = build(team, at_once=None, max_retries=0, resolve=[priority("b", "a", "c")], answer="answer")
    out = await graph.ainvoke({"task": "go"})
    assert (out["answer"]["text"], out["messages"][-1].name, out["outcome"]) == ("by b", "b", "completed")
    assert out["board"]["answer"]["version"] == 2
    ruling = next(e["ruling"] for e in out["log"] if e["what"] == "resolved")
    assert [(s["agent"], s["won"]) for s in ruling["sides"]] == [("a", False), ("b", True), ("c", False)]
    assert ruling["sides"][2]["why"] == "by priority: 1 against 3 of b"
    assert [(e["source"], e["why"]) for e in out["log"] if e["what"] == "resolved"] == [
        ("b", "won by priority"),
        ("c", "lost by priority: 1 against 3 of b"),
    ]


async def test_what_the_rules_leave_tied_stays_as_it_is_and_is_said() -> None:
    team = [Source(who=scripted(n, f"by {n}"), writes=["answer"]) for n in "ab"]
    out = await build(team, at_once=None, max_retries=0, resolve=[vote()]).ainvoke({"task": "go"})
    assert (out["answer"]["text"], out["outcome"]) == ("by a", "degraded")
    assert out["reason"] == "b lost answer: nothing decides between the writers"


@pytest.mark.parametrize(
    ("resolver", "value", "by"),
    [
        (scripted("judge", [("Ruling", {"number": 2})], output=Ruling), 2, "b"),
        (scripted("judge", [("Ruling", {"number": 1})], output=Ruling), 1, "a"),
        (scripted("judge", '{"value": 2}'), 2, "b"),
        (scripted("judge", "7"), 7, "judge"),
    ],
    ids=["side two", "side one", "in the words of a side", "something new"],
)
async def test_an_agent_resolves_by_a_sides_number_or_in_words(resolver: Any, value: int, by: str) -> None:
    team = [Source(who=writes(n, {"total": v}), writes={"total": int}) for n, v in (("a", 1), ("b", 2))]
    out = await build(team, at_once=None, max_retries=0, resolve=resolver).ainvoke({"task": "go"})
    assert (out["board"]["total"]["value"], out["board"]["total"]["by"], out["outcome"]) == (value, by, "completed")
    assert told(out, "resolved") == [("b", ["total"])]


@pytest.mark.parametrize(
    ("resolver", "words"),
    [
        (scripted("judge", [("Ruling", {"number": 9})], output=Ruling), "judge named side 9 of 2"),
        (scripted("judge", "neither"), "judge answered with none of the sides, and total is no int"),
        (breaks("judge"), "judge: out of ink"),
    ],
)
async def test_a_resolver_that_does_not_decide_leaves_what_is_there(resolver: Any, words: str) -> None:
    team = [Source(who=writes(n, {"total": v}), writes={"total": int}) for n, v in (("a", 1), ("b", 2))]
    out = await build(team, at_once=None, max_retries=0, resolve=resolver).ainvoke({"task": "go"})
    assert (out["board"]["total"]["value"], out["outcome"]) == (1, "degraded")
    assert words in out["reason"]


async def test_several_conflicts_of_a_round_are_resolved_one_after_the_other() -> None:
    judge = scripted("judge", [("Ruling", {"number": 2})], output=Ruling)
    team = [Source(who=scripted(f"{e}{n}", f"{e}{n}"), writes=[e]) for e in "xy" for n in (1, 2)]
    out = await build(team, at_once=None, max_retries=0, resolve=judge).ainvoke({"task": "go"})
    assert {e: v["by"] for e, v in out["board"].items()} == {"x": "x2", "y": "y2"}
    assert (len(calls(judge)), out["outcome"]) == (2, "completed")


async def test_a_person_resolves_a_conflict_with_every_side_before_them(memory: Persistence) -> None:
    team = [Source(who=scripted(n, f"by {n}"), writes=["answer"]) for n in "ab"]
    person = bind(agent("ann", output=Ruling), PERSON)
    graph = memory.bind(build(team, at_once=None, max_retries=0, resolve=person))
    (question,) = (await graph.ainvoke({"task": "go"}, CONFIG))["__interrupt__"]
    assert [s["output"]["text"] for s in question.value["case"]["task"]["context"]["results"]] == ["by a", "by b"]
    said = {"decisions": [{"type": "respond", "message": '{"number": 2}'}]}
    out = await graph.ainvoke(Command(resume=said), CONFIG)
    assert (out["answer"]["text"], out["outcome"]) == ("by b", "completed")
