"""The effects ledger: an effect happens once; where nobody can know whether it did, a person says so."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.types import Command
from scripted import Scripted

from graphs import handoff, react
from graphs.bind import bind
from nodes.agent import Bound
from runtime.book import Book
from runtime.persistence import Persistence
from runtime.travel import at
from state.agent import Agent
from state.effect import ENDED, result_of, standing
from state.errors import ToolError
from state.record import Record, digest, repeated
from state.tool import Arguments, Effects, Tool, ToolContext


class Crash(BaseException):
    """Ends a run as a kill does: nobody may catch it."""


class Letter(Arguments):
    to: str


Happens = Callable[[str, ToolContext], Any]


def sends(happens: Happens, *, effects: Effects = "irreversible", timeout: float = 5.0) -> Tool:
    async def run(letter: Letter, context: ToolContext) -> Any:
        found = happens(letter.to, context)
        return await found if asyncio.iscoroutine(found) else found

    return Tool(name="send", description="Sends.", args=Letter, run=run, effects=effects, timeout=timeout)


def crashing(log: list[str], *times: int) -> Happens:
    """An effect that happens, with a crash behind it where it happens for the nth time."""

    def happens(to: str, context: ToolContext) -> str:
        log.append(context.key)
        if len(log) in times:
            raise Crash
        return f"sent to {to}"

    return happens


def clerk(tool: Tool, *to: str, **options: Any) -> Bound:
    """An agent that sends to all of these at once, and then answers with what it has heard."""

    def says(messages: Any, tools: Any) -> Any:
        if messages[-1].type == "tool":
            return "; ".join(m.text for m in messages if m.type == "tool")
        return [("send", {"to": name}) for name in to]

    return Bound(Agent(name="clerk", responsibility="Sends.", tools=(tool,), **options), Scripted(script=says))


def decide(*decisions: Any) -> Command[Any]:
    return Command(resume={"decisions": list(decisions), "by": "ann"})


def settle(question: Any, decision: Any) -> Command[Any]:
    """The answer to this very question."""
    return Command(resume={question.id: {"decisions": [decision], "by": "ann"}})


APPROVE = {"type": "approve"}


async def cut_off(home: Persistence, tool: Tool) -> tuple[Any, Any]:
    """A graph whose one call was approved and cut off by a crash, and the question that a resume brings."""
    graph = home.bind(react.build(clerk(tool, "ann")))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    with pytest.raises(Crash):
        await graph.ainvoke(decide(APPROVE), at("t"), durability="sync")
    found = await graph.ainvoke(None, at("t"), durability="sync")
    (question,) = found["__interrupt__"]
    return graph, question


async def tools_of(home: Persistence) -> list[Record]:
    book = (await Book(home.store, thread="t", branch="main", turn=1).load()).records()
    assert repeated(book) == []
    return [r for r in book if r["kind"] == "tool"]


async def test_a_person_sees_all_that_is_known_of_a_call_that_a_crash_cut_off(sqlite: Persistence) -> None:
    log: list[str] = []
    _, question = await cut_off(sqlite, sends(crashing(log, 1)))
    asked = question.value
    assert asked["kind"] == "escalation"
    assert asked["action_requests"][0]["args"] == {"to": "ann"}
    assert asked["review_configs"][0]["allowed_decisions"] == ["respond", "approve", "reject"]
    (doubt,) = asked["case"]["doubts"]
    assert (doubt["key"], doubt["attempt"]) == (log[0], 1)
    assert doubt["why"] == "the process ended before it had a result"


async def test_a_call_that_happened_is_not_run_again_and_the_persons_word_is_its_result(sqlite: Persistence) -> None:
    log: list[str] = []
    graph, _ = await cut_off(sqlite, sends(crashing(log, 1)))
    out = await graph.ainvoke(decide({"type": "respond", "message": "it was delivered"}), at("t"), durability="sync")
    assert "it was delivered" in out["answer"]["text"]
    assert len(log) == 1
    assert [(r["outcome"], r.get("by")) for r in await tools_of(sqlite)] == [("", None), ("completed", "ann")]


async def test_a_call_that_did_not_happen_is_run_again_under_the_same_key(sqlite: Persistence) -> None:
    log: list[str] = []
    graph, question = await cut_off(sqlite, sends(crashing(log, 1)))
    out = await graph.ainvoke(settle(question, APPROVE), at("t"), durability="sync")
    assert "sent to ann" in out["answer"]["text"]
    assert len(log) == 2
    assert len(set(log)) == 1


async def test_a_call_that_is_left_is_not_run_and_the_agent_hears_why(sqlite: Persistence) -> None:
    log: list[str] = []
    graph, _ = await cut_off(sqlite, sends(crashing(log, 1)))
    out = await graph.ainvoke(decide({"type": "reject", "message": "I look into it"}), at("t"), durability="sync")
    assert "whether it took effect is unknown" in out["answer"]["text"]
    assert "I look into it" in out["answer"]["text"]
    assert len(log) == 1


async def test_leave_to_run_again_is_leave_for_one_time(sqlite: Persistence) -> None:
    log: list[str] = []
    graph, first = await cut_off(sqlite, sends(crashing(log, 1, 2)))
    with pytest.raises(Crash):
        await graph.ainvoke(settle(first, APPROVE), at("t"), durability="sync")
    found = await graph.ainvoke(None, at("t"), durability="sync")
    (second,) = found["__interrupt__"]
    assert len(log) == 2
    assert second.id != first.id
    assert second.value["case"]["doubts"][0]["attempt"] == 2
    await graph.ainvoke(decide({"type": "respond", "message": "sent"}), at("t"), durability="sync")
    assert len(log) == 2


async def test_other_words_than_these_are_refused_and_the_question_stays_open(sqlite: Persistence) -> None:
    log: list[str] = []
    graph, question = await cut_off(sqlite, sends(crashing(log, 1)))
    with pytest.raises(Exception, match="send takes respond or approve or reject, not edit"):
        await graph.ainvoke(decide({"type": "edit", "args": {"to": "zoe"}}), at("t"), durability="sync")
    (still,) = (await graph.aget_state(at("t"))).interrupts
    assert still.id == question.id
    assert len(log) == 1


@pytest.mark.parametrize("policy", ["auto", "deny"])
async def test_a_run_that_asks_nobody_leaves_what_may_have_happened(policy: str, sqlite: Persistence) -> None:
    log: list[str] = []
    graph = sqlite.bind(react.build(clerk(sends(crashing(log, 1)), "ann")))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "go"}, at("t"), durability="sync", context={"approve": "auto"})
    out = await graph.ainvoke(None, at("t"), durability="sync", context={"approve": policy})
    assert (out["outcome"], len(log)) == ("completed", 1)
    assert "whether it took effect is unknown" in out["answer"]["text"]


async def test_where_nobody_is_asked_an_agent_cannot_try_again_what_may_have_happened(sqlite: Persistence) -> None:
    log: list[str] = []

    def insists(messages: Any, tools: Any) -> Any:
        heard = [m.text for m in messages if m.type == "tool"]
        return heard[-1] if len(heard) == 2 else [("send", {"to": "ann"})]

    agent = Agent(name="clerk", responsibility="Sends.", tools=(sends(crashing(log, 1)),))
    graph = sqlite.bind(react.build(Bound(agent, Scripted(script=insists))))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "go"}, at("t"), durability="sync", context={"approve": "auto"})
    out = await graph.ainvoke(None, at("t"), durability="sync", context={"approve": "auto"})
    assert "whether it took effect is unknown" in out["answer"]["text"]
    assert len(log) == 1


@pytest.mark.parametrize("effects", ["none", "idempotent"])
async def test_what_may_be_repeated_is_run_again_under_the_same_key_and_nobody_is_asked(
    effects: Effects, sqlite: Persistence
) -> None:
    log: list[str] = []
    graph = sqlite.bind(react.build(clerk(sends(crashing(log, 1), effects=effects), "ann")))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    out = await graph.ainvoke(None, at("t"), durability="sync")
    assert out["outcome"] == "completed"
    assert len(log) == 2
    assert len(set(log)) == 1


async def test_no_finished_member_of_a_batch_runs_again_whether_it_went_well_or_not(sqlite: Persistence) -> None:
    log: list[str] = []

    async def happens(to: str, context: ToolContext) -> str:
        log.append(to)
        if to == "bob":
            raise ToolError("bob has no address")
        if to == "cut":
            await asyncio.sleep(0.05)
            raise Crash
        return "sent"

    graph = sqlite.bind(react.build(clerk(sends(happens), "ann", "bob", "cut")))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    with pytest.raises(Crash):
        await graph.ainvoke(decide(APPROVE, APPROVE, APPROVE), at("t"), durability="sync")
    found = await graph.ainvoke(None, at("t"), durability="sync")
    assert [a["args"]["to"] for a in found["__interrupt__"][0].value["action_requests"]] == ["cut"]
    out = await graph.ainvoke(decide({"type": "respond", "message": "sent"}), at("t"), durability="sync")
    assert sorted(log) == ["ann", "bob", "cut"]
    assert "bob has no address" in out["answer"]["text"]


@pytest.mark.parametrize("ends", ["hangs", "breaks", "returns no JSON"])
async def test_an_end_that_leaves_the_effect_open_is_put_to_a_person_at_once(ends: str, sqlite: Persistence) -> None:
    async def happens(to: str, context: ToolContext) -> Any:
        if ends == "hangs":
            await asyncio.sleep(30)
        if ends == "breaks":
            raise ConnectionError("reset by peer")
        return (loop := []).append(loop) or loop

    graph = sqlite.bind(react.build(clerk(sends(happens, timeout=0.05), "ann")))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    found = await graph.ainvoke(decide(APPROVE), at("t"), durability="sync")
    (doubt,) = found["__interrupt__"][0].value["case"]["doubts"]
    assert any(word in doubt["why"] for word in ("did not answer within", "reset by peer", "no JSON"))
    assert [r["outcome"] for r in await tools_of(sqlite)] == ["unknown"]
    out = await graph.ainvoke(decide({"type": "respond", "message": "sent"}), at("t"), durability="sync")
    assert out["outcome"] == "completed"


@pytest.mark.parametrize("effects", ["idempotent", "irreversible"])
async def test_the_same_key_with_other_arguments_is_refused(effects: Effects, sqlite: Persistence) -> None:
    log: list[str] = []
    book = Book(sqlite.store, thread="t", branch="main", turn=1)
    asked = digest(["send", {"to": "zoe"}])
    done = await book.start("tool", agent="clerk", path="", visit="act/1/0", digest=asked, tool="send")
    await book.end(done, "completed", content={"value": "sent"})
    graph = sqlite.bind(react.build(clerk(sends(crashing(log), effects=effects), "ann")))
    out = await graph.ainvoke({"task": "go"}, at("t"), context={"approve": "auto"})
    assert "made before with other arguments" in out["answer"]["text"]
    assert log == []


async def test_of_a_sensitive_agent_an_effect_is_not_repeated_although_its_result_is_not_kept(
    sqlite: Persistence,
) -> None:
    log: list[str] = []
    graph = sqlite.bind(react.build(clerk(sends(crashing(log, 2)), "ann", "bob", sensitive=True)))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "go"}, at("t"), durability="sync", context={"approve": "auto"})
    out = await graph.ainvoke(None, at("t"), durability="sync", context={"approve": "auto"})
    assert "what it returned is not kept" in out["answer"]["text"]
    assert "whether it took effect is unknown" in out["answer"]["text"]
    assert len(log) == 2


async def test_whoever_has_control_of_a_conversation_asks_as_well(sqlite: Persistence) -> None:
    log: list[str] = []
    other = bind(Agent(name="other", responsibility="Does nothing."), Scripted(script=lambda m, t: "nothing"))
    graph = sqlite.bind(handoff.build([clerk(sends(crashing(log, 1)), "ann"), other]))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    with pytest.raises(Crash):
        await graph.ainvoke(decide(APPROVE), at("t"), durability="sync")
    found = await graph.ainvoke(None, at("t"), durability="sync")
    assert found["__interrupt__"][0].value["case"]["doubts"][0]["key"] == log[0]
    out = await graph.ainvoke(decide({"type": "respond", "message": "it was delivered"}), at("t"), durability="sync")
    assert "it was delivered" in out["answer"]["text"]
    assert len(log) == 1


async def test_runs_that_keep_no_thread_have_keys_of_their_own() -> None:
    log: list[str] = []
    graph = react.build(clerk(sends(crashing(log)), "ann"))
    for _ in range(2):
        await graph.ainvoke({"task": "go"}, context={"approve": "auto"})
    assert len(set(log)) == 2


# The decision, by all attempts under a key

ATTEMPTS: Any = st.lists(
    st.fixed_dictionaries(
        {"digest": st.sampled_from("ab"), "outcome": st.sampled_from(["", "unknown", *ENDED])},
        optional={"content": st.just({"value": 1})},
    ),
    max_size=5,
)
EFFECTS: Any = st.sampled_from(["none", "idempotent", "irreversible"])


@given(ATTEMPTS)
def test_nothing_that_cannot_be_undone_runs_after_an_attempt_that_may_have_taken_effect(attempts: Any) -> None:
    if standing(attempts, "a", "irreversible") == "new":
        assert all(r["outcome"] == "failed" for r in attempts if r["digest"] == "b")
        mine = [r["outcome"] for r in attempts if r["digest"] == "a"]
        assert "completed" not in mine
        assert not mine or mine[-1] == "failed"


@given(ATTEMPTS, EFFECTS)
def test_a_result_that_is_kept_is_always_returned(attempts: Any, effects: Any) -> None:
    known = any(r["digest"] == "a" and r["outcome"] in ENDED and "content" in r for r in attempts)
    assert (result_of(attempts, "a") is not None) is known
    assert (standing(attempts, "a", effects) == "known") is known


@given(ATTEMPTS)
def test_what_has_no_effect_may_always_run(attempts: Any) -> None:
    assert standing(attempts, "a", "none") in ("new", "known")


@given(ATTEMPTS)
def test_what_may_be_repeated_asks_nobody(attempts: Any) -> None:
    assert standing(attempts, "a", "idempotent") in ("new", "known", "taken")
