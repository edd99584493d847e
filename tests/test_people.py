"""People in the loop: nothing executes that was not approved exactly as it was shown."""

import asyncio
from collections.abc import Iterator
from copy import copy
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from langgraph.types import Command
from laws import breaks
from payments import APPROVE, PAID, PAY, answer, open_, paying, people, start

from graphs import concurrent
from graphs.bind import bind
from motet.session import Session
from runtime.persistence import Persistence
from runtime.travel import at, fork
from state.agent import Agent
from state.decision import EXPIRY, Decisions, Request, expired, mismatch
from state.errors import InputError, ThreadError
from state.question import plain, settled

OPEN = {
    "kind": "approval",
    "action_requests": [{"name": "pay", "args": {"to": "ann"}}],
    "review_configs": [{"action_name": "pay", "allowed_decisions": ["approve", "edit"], "approvers": ["eve", ""]}],
    "shown": "this",
}
WORDS = st.sampled_from(["approve", "edit", "reject", "eve", "ann", "this", "another", "", EXPIRY])
DECISION = st.fixed_dictionaries({"type": WORDS}, optional={"args": st.just({}) | st.none(), "message": WORDS})
ANSWER = st.fixed_dictionaries({"decisions": st.lists(DECISION, max_size=2)}, optional={"by": WORDS, "for": WORDS})
PLAIN = st.none() | st.booleans() | st.integers() | WORDS | st.lists(WORDS)
ANYTHING = PLAIN | ANSWER | st.dictionaries(st.sampled_from(["0" * 32, "1" * 32, "2" * 32]), ANSWER | PLAIN)


@pytest.fixture(autouse=True)
def nothing_paid() -> Iterator[None]:
    PAID.clear()
    yield
    PAID.clear()


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("memory://") as opened:
        yield opened


# An answer is checked before anything is resumed: bare graphs and sessions alike

UNFIT = [
    (None, "an answer is a JSON object"),
    ("approve", "an answer is a JSON object"),
    (True, "an answer is a JSON object"),
    ([], "an answer is a JSON object"),
    ({}, "an answer is a JSON object"),
    ({"decisions": "approve"}, "does not fit"),
    ({"decisions": [{"type": "perhaps"}]}, "does not fit"),
    ({"decisions": [{"type": "approve"}] * 2}, r"1 decision\(s\) are needed"),
    ({"0" * 32: APPROVE}, "no question '0+' is open"),
    ({**APPROVE, "for": "another"}, "it was given to another question"),
]


@pytest.mark.parametrize(("given", "why"), UNFIT)
async def test_what_is_no_answer_is_refused_with_the_question_which_stays_open(
    memory: Persistence, given: Any, why: str
) -> None:
    bound = await start(memory)
    before = await open_(bound)
    with pytest.raises(InputError, match=why) as refused:
        await answer(bound, given)
    assert 'of clerk: pay {"to": "ann", "amount": 0}' in str(refused.value)
    assert (await open_(bound), PAID) == (before, [])
    await answer(bound, APPROVE)
    assert PAID == [("ann", 0)]


@pytest.mark.parametrize(("given", "why"), UNFIT[1:])
async def test_a_session_refuses_the_same(session: Session, given: Any, why: str) -> None:
    await session.run(PAY, "ann", thread="t")
    with pytest.raises(InputError, match=why):
        await session.resume("t", given)
    assert ((await session.resume("t", APPROVE)).outcome, PAID) == ("completed", [("ann", 0)])


async def test_an_answer_that_is_sent_again_is_never_taken_for_the_next_question(
    memory: Persistence, session: Session
) -> None:
    bound = await start(memory, "ann bob")
    await answer(bound, APPROVE)
    (second,) = await open_(bound)
    with pytest.raises(InputError, match="given before in this turn: say which question it is for"):
        await answer(bound, APPROVE)
    assert PAID == [("ann", 0)]
    await answer(bound, {second: APPROVE})
    assert PAID == [("ann", 0), ("bob", 0)]
    await session.run(PAY, "ann bob", thread="t")
    ended = await session.resume("t", APPROVE)
    with pytest.raises(InputError, match="given before in this turn"):
        await session.resume("t", APPROVE)
    named = {**APPROVE, "for": ended.questions[0].request["shown"]}
    assert (await session.resume("t", named)).outcome == "completed"


async def test_a_stale_id_is_refused(memory: Persistence, session: Session) -> None:
    bound = await start(memory, "ann bob")
    (first,) = await open_(bound)
    await answer(bound, {first: APPROVE})
    with pytest.raises(InputError, match=f"no question '{first}' is open"):
        await answer(bound, {first: APPROVE})
    ended = await session.run(PAY, "ann bob", thread="t")
    again = {ended.questions[0].id: APPROVE}
    await session.resume("t", again)
    with pytest.raises(InputError, match="is open; open: approval"):
        await session.resume("t", again)
    assert PAID == [("ann", 0)] * 2


async def test_of_a_double_click_one_is_taken(memory: Persistence, session: Session) -> None:
    bound = await start(memory, "ann bob")
    both = await asyncio.gather(answer(bound, APPROVE), answer(bound, APPROVE), return_exceptions=True)
    assert sorted(type(b).__name__ for b in both) == ["ThreadError", "dict"]
    await session.run(PAY, "ann bob", thread="t")
    both = await asyncio.gather(session.resume("t", APPROVE), session.resume("t", APPROVE), return_exceptions=True)
    assert sorted(type(b).__name__ for b in both) == ["Ended", "ThreadError"]
    assert PAID == [("ann", 0)] * 2


async def test_one_answer_for_several_questions_is_refused_and_they_are_answered_one_by_one_or_together(
    memory: Persistence,
) -> None:
    team = [bind(Agent(name=n, responsibility="Pays."), paying(name=n)) for n in ("one", "two")]
    two = memory.bind(concurrent.build(team))
    for config, together in ((at("t"), False), (at("u"), True)):
        await two.ainvoke({"task": "ann"}, config)
        ids = [i.id for i in (await two.aget_state(config)).interrupts]
        with pytest.raises(InputError, match="2 questions are open: answer by id"):
            await two.ainvoke(Command(resume=APPROVE), config)
        with pytest.raises(InputError, match=r"1 decision\(s\)"):  # each is checked before any is taken
            await two.ainvoke(
                Command(resume={ids[0]: APPROVE, ids[1]: {"decisions": APPROVE["decisions"] * 2}}), config
            )
        before = len(PAID)
        assert before == (0 if config == at("t") else 2)
        if together:
            await two.ainvoke(Command(resume=dict.fromkeys(ids, APPROVE)), config)
        else:
            await two.ainvoke(Command(resume={ids[0]: APPROVE}), config)
            await two.ainvoke(Command(resume={ids[1]: APPROVE}), config)
        assert len(PAID) == before + 2


async def test_an_answer_after_the_run_ended_is_refused(memory: Persistence, session: Session) -> None:
    bound = await start(memory)
    await answer(bound, APPROVE)
    for given in (APPROVE, None):
        with pytest.raises(InputError, match="'t' asks nothing"):
            await answer(bound, given)
    with pytest.raises(InputError, match="'never' asks nothing"):
        await bound.ainvoke(Command(resume=APPROVE), at("never"))
    await session.run(PAY, "ann", thread="t")
    await session.resume("t", APPROVE)
    with pytest.raises(InputError, match=r"'t' asks nothing \(completed\)"):
        await session.resume("t", APPROVE)
    assert PAID == [("ann", 0)] * 2


async def test_an_answer_at_a_step_that_is_past_is_refused(memory: Persistence) -> None:
    bound = await start(memory)
    asked = (await bound.aget_state(at("t"))).config["configurable"]["checkpoint_id"]
    await answer(bound, APPROVE)
    with pytest.raises(InputError, match=r"asks nothing|is past"):
        await bound.ainvoke(Command(resume=APPROVE), at("t", asked))
    assert PAID == [("ann", 0)]


async def test_an_answer_to_a_node_that_is_no_more_is_refused_by_its_name(memory: Persistence) -> None:
    bound = await start(memory)
    older = copy(bound)
    older.nodes = {name: node for name, node in bound.nodes.items() if name != "gate"}
    with pytest.raises(ThreadError, match="'t' stopped before gate, which react no longer has"):
        await answer(older, APPROVE)
    await answer(bound, APPROVE)
    assert PAID == [("ann", 0)]


@hypothesis.given(given_=ANYTHING, before=st.booleans())
def test_whatever_is_sent_it_is_refused_or_fits_an_open_question(given_: Any, before: bool) -> None:
    asked = {"0" * 32: OPEN, "1" * 32: {**OPEN, "shown": "another", "expires_at": 50.0}}
    open_ = dict(list(asked.items())[: 1 + before])
    try:
        out = settled(open_, given_, now=100.0, before={plain(Decisions.model_validate(APPROVE))} if before else ())
    except InputError:
        return
    for id_, value in out.items():
        held = Decisions.model_validate(value)
        assert mismatch(Request.model_validate(open_[id_]), held) == ""
        assert held.shown in ("", open_[id_]["shown"])
        assert not expired(Request.model_validate(open_[id_]), 100.0)


def test_the_law_of_answers_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.question.unfit", lambda *_, **__: "")
    breaks(test_whatever_is_sent_it_is_refused_or_fits_an_open_question)


# What executes is what was shown


async def test_a_question_that_changed_since_it_was_shown_is_asked_again(memory: Persistence) -> None:
    for given in (APPROVE, "by id"):
        PAID.clear()
        bound = await start(memory)
        (shown,) = await open_(bound)
        other = memory.bind(paying("Pays somebody twice."))
        await answer(other, {shown: APPROVE} if given == "by id" else given)
        assert PAID == []
        ((again, request),) = (await open_(other)).items()
        assert "twice" in request["action_requests"][0]["description"]
        assert again != shown
        with pytest.raises(InputError, match=r"no question|given before"):
            await answer(other, {shown: APPROVE})
        await answer(other, {again: APPROVE})
        assert PAID == [("ann", 0)]
        outcomes = [r["outcome"] for r in await people(memory)]
        assert outcomes == ["superseded", "completed"]
        memory.saver.delete_thread("t")
        for item in memory.store.search(("book",), limit=100):
            memory.store.delete(item.namespace, item.key)


async def test_arguments_that_were_edited_after_the_approval_are_asked_about_again(memory: Persistence) -> None:
    bound = await start(memory)
    await answer(bound, APPROVE)
    act = [s async for s in bound.aget_state_history(at("t")) if s.next == ("act",)][-1]
    message = act.values["scratch"][-1]
    message.tool_calls[0]["args"]["to"] = "eve"
    await fork(bound, "t", act.config["configurable"]["checkpoint_id"], values={"scratch": [message]})
    await bound.ainvoke(None, at("t"))
    ((id_, request),) = (await open_(bound)).items()
    assert request["action_requests"][0]["args"] == {"to": "eve", "amount": 0}
    assert PAID == [("ann", 0)]
    await answer(bound, {id_: {"decisions": [{"type": "reject", "message": "who is eve?"}]}})
    assert PAID == [("ann", 0)]


async def test_an_edit_that_was_changed_after_it_was_made_is_asked_about_again(memory: Persistence) -> None:
    bound = await start(memory)
    await answer(bound, {"decisions": [{"type": "edit", "args": {"to": "bob"}}]})
    assert PAID == [("bob", 0)]
    act = [s async for s in bound.aget_state_history(at("t")) if s.next == ("act",)][-1]
    decisions = {"0": {**act.values["decisions"]["0"], "args": {"to": "eve"}}}
    await fork(bound, "t", act.config["configurable"]["checkpoint_id"], values={"decisions": decisions})
    await bound.ainvoke(None, at("t"))
    assert len(await open_(bound)) == 1
    assert PAID == [("bob", 0)]


async def test_the_record_says_who_decided_what_about_which_hash(memory: Persistence) -> None:
    bound = await start(memory)
    ((id_, request),) = (await open_(bound)).items()
    await answer(bound, {id_: {**APPROVE, "by": "ann"}})
    (record,) = await people(memory)
    assert (record["by"], record["digest"], record["content"]["for"]) == ("ann", request["shown"], request["shown"])


async def test_the_same_call_on_another_branch_or_thread_is_another_question(memory: Persistence) -> None:
    bound = await start(memory)
    ((_, first),) = (await open_(bound)).items()
    await bound.ainvoke({"task": "ann"}, at("u"))
    (other,) = (i.value for i in (await bound.aget_state(at("u"))).interrupts)
    assert first["action_requests"] == other["action_requests"]
    with pytest.raises(InputError, match="it was given to another question"):
        await bound.ainvoke(Command(resume={**APPROVE, "for": first["shown"]}), at("u"))


async def test_an_answer_whose_task_was_then_cut_off_counts_and_is_not_asked_for_again(
    sqlite: Persistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CrashError(BaseException):
        pass

    def dies(*_: Any) -> Any:
        raise CrashError

    bound = await start(sqlite)
    with monkeypatch.context() as patched:
        patched.setattr("nodes.approval._bound", dies)
        with pytest.raises(CrashError):
            await answer(bound, APPROVE)
    out = await bound.ainvoke(None, at("t"))
    assert (out["outcome"], PAID, len(await people(sqlite))) == ("completed", [("ann", 0)], 1)
