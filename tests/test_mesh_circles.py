"""Feedback loops and deadlocks of a mesh: found, reported with the cycle, and broken by policy or by a person."""

from typing import Any

import pytest
from langgraph.types import Command
from pydantic import ValidationError
from scripted import Scripted
from test_mesh import agent, done, records, says, seen, to

from graphs.bind import bind
from graphs.mesh import build
from nodes.agent import Bound
from runtime.persistence import Persistence
from runtime.travel import at
from state.mesh import Said
from state.record import repeated

# Feedback loops


def echoes(name: str, other: str, *, same: bool = True) -> Bound:
    """A peer that writes to another as often as it is called, until it is told to stop."""
    count = iter(range(100))

    def script(messages: Any, tools: Any) -> Any:
        if "gives up" in messages[1].text:
            return [("Said", done(f"{name} stopped"))]
        return [("Said", {"answer": "so far", "messages": [to(other, "again" if same else f"{next(count)}")]})]

    return bind(agent(name, output=Said), Scripted(script=script))


async def test_the_same_conversation_going_round_is_found_and_the_lowest_priority_gives_up() -> None:
    found = await build([echoes("a", "b"), echoes("b", "a")], priority={"b": -1}).ainvoke({"task": "go"})
    (loop,) = [one for one in found["incidents"] if one["kind"] == "loop"]
    assert (loop["cycle"], loop["who"]) == (["a", "b"], "b")
    assert found["outcome"] == "degraded"
    assert "loop: a -> b -> a; b gives up" in found["reason"]
    assert len(found["talk"]) < 10


async def test_going_round_the_same_peers_in_other_words_is_a_loop_after_some_laps() -> None:
    team = [echoes("a", "b", same=False), echoes("b", "c", same=False), echoes("c", "a", same=False)]
    found = await build(team, max_laps=2, max_hops=40).ainvoke({"task": "go"})
    assert [one["cycle"] for one in found["incidents"] if one["kind"] == "loop"] == [["a", "b", "c"]]
    assert found["answer"]["text"] == "a stopped"


async def test_asking_the_same_peer_twice_is_no_loop() -> None:
    host = says("host", {"messages": [to("facts", "one")]}, {"messages": [to("facts", "two")]}, done())
    found = await build([host, says("facts", "x", "y")]).ainvoke({"task": "go"})
    assert (found["outcome"], found["incidents"]) == ("completed", [])


async def test_the_same_answer_to_another_question_is_no_loop() -> None:
    asks = [{"messages": [to("judge", draft, subject="Is this good?")]} for draft in ("draft one", "draft two")]
    found = await build([says("host", *asks, done()), says("judge", "no")]).ainvoke({"task": "go"})
    assert (found["outcome"], found["incidents"]) == ("completed", [])


# Deadlocks


def stubborn(name: str, other: str, **more: Any) -> Bound:
    """Asks another and cannot go on without its answer."""
    asks = {"messages": [to(other, f"{name} asks {other}")], "waits_for": [other]}
    return says(name, {**asks, **more}, done(f"{name} alone"))


async def test_a_peer_that_waits_is_not_called_before_it_has_heard() -> None:
    wait = {"messages": [to("slow"), to("quick")], "waits_for": ["slow"]}
    host, middle = says("host", wait, done()), says("slow", {"messages": [to("deep")]}, done("at last"))
    found = await build([host, middle, says("quick", "q"), says("deep", "d")]).ainvoke({"task": "go"})
    assert (len(seen(host)), found["outcome"]) == (2, "completed")
    assert '"quick": "q"' in seen(host)[1]
    assert '"slow": "at last"' in seen(host)[1]


async def test_a_deadlock_is_found_reported_with_its_cycle_and_broken_by_priority() -> None:
    team = [stubborn("a", "b"), stubborn("b", "c"), stubborn("c", "a")]
    found = await build(team, priority={"a": 2, "b": 1, "c": 2}).ainvoke({"task": "go"})
    (lock,) = [one for one in found["incidents"] if one["kind"] == "deadlock"]
    assert (lock["cycle"], lock["who"]) == (["a", "b", "c"], "b")
    assert (found["outcome"], found["answer"]["text"]) == ("degraded", "a alone")
    assert "deadlock: a -> b -> c -> a; b gives up" in found["reason"]
    assert "gives up" in seen(team[1])[1]


async def test_of_equals_the_first_by_name_gives_up() -> None:
    found = await build([stubborn("b", "a"), stubborn("a", "b")]).ainvoke({"task": "go"})
    assert [one["who"] for one in found["incidents"] if one["kind"] == "deadlock"] == ["a"]


async def test_waiting_for_any_of_several_is_no_deadlock() -> None:
    either = {"messages": [to("b"), to("c")], "waits_for": ["b", "c"], "wait_for_any": True}
    team = [says("a", either, done()), stubborn("b", "a"), says("c", "x")]
    found = await build(team).ainvoke({"task": "go"})
    assert (found["outcome"], found["incidents"]) == ("completed", [])


async def test_what_was_written_before_the_other_waited_counts_as_heard() -> None:
    cross = [says(n, {"messages": [to(o, f"{n} tells", "event")], "waits_for": [o]}, done(n)) for n, o in ("ab", "ba")]
    found = await build(cross).ainvoke({"task": "go"})
    assert [one for one in found["incidents"] if one["kind"] == "deadlock"] == []
    host = says("host", {"messages": [to("b"), to("a")]}, {"answer": ""}, done())
    found = await build([host, *cross]).ainvoke({"task": "go"})
    assert [one for one in found["incidents"] if one["kind"] == "deadlock"] == []


async def test_who_waits_for_itself_or_a_stranger_is_told() -> None:
    host = says("host", {"answer": "so far", "waits_for": ["host", "ghost"]}, done())
    found = await build([host, says("facts", "x")]).ainvoke({"task": "go"})
    assert [one["what"] for one in found["incidents"]] == [
        "host cannot wait for itself",
        "host cannot wait for 'ghost'",
    ]
    assert found["outcome"] == "completed"


async def test_who_waits_for_somebody_with_nothing_more_to_say_is_told_when_nothing_is_in_flight() -> None:
    host = says("host", {"messages": [to("sink", "fyi", "event")], "waits_for": ["sink"]}, done("without"))
    found = await build([host, says("sink", {"answer": ""})]).ainvoke({"task": "go"})
    assert (found["outcome"], found["answer"]["text"]) == ("completed", "without")
    assert [one["kind"] for one in found["incidents"]] == ["unanswered"]


async def asked(memory: Persistence, decision: Any) -> dict[str, Any]:
    graph = memory.bind(build([stubborn("a", "b"), stubborn("b", "a")], ask=True))
    found = await graph.ainvoke({"task": "go"}, at("t"))
    (question,) = found["__interrupt__"]
    assert question.value["case"]["incidents"][0]["cycle"] == ["a", "b"]
    assert question.value["action_requests"][0]["args"] == {"victim": "a"}
    out: dict[str, Any] = await graph.ainvoke(Command(resume={"decisions": [decision], "by": "ann"}), at("t"))
    return out


@pytest.mark.parametrize(
    ("decision", "victim"),
    [({"type": "approve"}, "a"), ({"type": "edit", "args": {"victim": "b"}}, "b")],
)
async def test_a_person_may_decide_who_gives_up(memory: Persistence, decision: Any, victim: str) -> None:
    found = await asked(memory, decision)
    assert f"{victim} gives up" in found["reason"]
    assert found["answer"]["text"] == "a alone"
    assert repeated(records(memory)) == []


async def test_a_person_may_end_it_there(memory: Persistence) -> None:
    found = await asked(memory, {"type": "reject"})
    assert found["outcome"] == "failed"
    assert "a person ended it" in found["reason"]


async def test_a_victim_that_is_not_in_the_cycle_is_refused_and_can_be_named_again(memory: Persistence) -> None:
    with pytest.raises(ValidationError, match="`victim` must be one of a, b"):
        await asked(memory, {"type": "edit", "args": {"victim": "eve"}})
