"""Who may decide, until when, and what happens to a thread in between."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.types import Command
from payments import APPROVE, PAID, PAY, answer, graph, open_, paying, people, start

from motet import asking, screen
from motet.session import Session
from runtime.persistence import Persistence
from runtime.travel import at
from state.context import Context, User
from state.decision import EXPIRY, POLICY
from state.errors import InputError, ThreadError


@pytest.fixture(autouse=True)
def nothing_paid() -> Iterator[None]:
    PAID.clear()
    yield
    PAID.clear()


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("memory://") as opened:
        yield opened


# Who may decide, and until when


async def test_policies_decide_by_agent_tool_and_amount(memory: Persistence) -> None:
    bound = await start(memory, "ann:50+bob:500", approvals={"clerk.pay": "ask above amount 100", "pay": "deny"})
    ((_, request),) = (await open_(bound)).items()
    assert [a["args"]["to"] for a in request["action_requests"]] == ["bob"]
    out = await answer(bound, {"decisions": [{"type": "reject"}]}, approvals={"clerk.pay": "ask above amount 100"})
    assert (out["outcome"], PAID) == ("completed", [("ann", 50)])
    await memory.bind(graph).ainvoke({"task": "ann:50"}, at("u"), context=Context(approvals={"clerk": "deny"}))
    assert PAID == [("ann", 50)]


async def test_a_tool_that_can_be_undone_waits_where_a_policy_names_it(memory: Persistence) -> None:
    reading = paying(effects="none")
    for thread, scopes, outcome in (
        ("free", {"clerk": "ask"}, 1),
        ("named", {"pay": "ask"}, 1),
        ("no", {"pay": "deny"}, 2),
    ):
        bound = memory.bind(reading)
        await bound.ainvoke({"task": "ann"}, at(thread), context=Context(approvals=scopes))
        if thread == "named":
            assert len(PAID) == outcome
            await bound.ainvoke(Command(resume=APPROVE), at(thread), context=Context(approvals=scopes))
        assert len(PAID) == min(2, outcome + (thread == "named"))


async def test_only_an_approver_lets_it_pass_and_anybody_may_reject(memory: Persistence) -> None:
    scopes = {"pay": "ask by bob,eve"}
    bound = await start(memory, "ann cem", approvals=scopes)
    for by in ("", "ann", "terminal"):
        with pytest.raises(InputError, match="pay is decided by bob or eve, not by"):
            await answer(bound, {**APPROVE, "by": by}, approvals=scopes)
    await answer(bound, {**APPROVE, "by": "eve"}, approvals=scopes)
    assert PAID == [("ann", 0)]
    out = await answer(bound, {"decisions": [{"type": "reject"}], "by": "ann"}, approvals=scopes)
    assert (out["outcome"], PAID) == ("completed", [("ann", 0)])


async def test_nobody_approves_what_they_asked_for_themselves(memory: Persistence) -> None:
    who: dict[str, Any] = {"user": User(identity="ann")}
    bound = await start(memory, "bob", **who)
    for by, why in (("ann", "was asked for by ann, who may not"), ("clerk", "by clerk"), ("", "give the name of who")):
        with pytest.raises(InputError, match=why):
            await answer(bound, {**APPROVE, "by": by}, **who)
    assert PAID == []
    await answer(bound, {**APPROVE, "by": "eve"}, **who)
    assert PAID == [("bob", 0)]


@pytest.mark.parametrize("name", [EXPIRY, POLICY])
async def test_nobody_decides_in_the_name_of_the_clock_or_of_the_options(memory: Persistence, name: str) -> None:
    bound = await start(memory)
    with pytest.raises(InputError, match=f"{name} is the name of nobody"):
        await answer(bound, {**APPROVE, "by": name})


@pytest.mark.parametrize(("otherwise", "paid"), [("reject", []), ("approve", [("ann", 0)])])
async def test_an_expired_question_takes_no_answer_and_its_default_counts(
    memory: Persistence, monkeypatch: pytest.MonkeyPatch, otherwise: str, paid: Any
) -> None:
    scopes = {"pay": f"ask within 3600 else {otherwise}"}
    bound = await start(memory, approvals=scopes)
    ((_, request),) = (await open_(bound)).items()
    assert 3590 < request["expires_at"] - time.time() <= 3600
    await bound.ainvoke(None, at("t"), context=Context(approvals=scopes))
    assert list((await open_(bound)).values()) == [request]  # asked once, and still open
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3601)
    with pytest.raises(InputError, match="the time for it is over: resume without an answer"):
        await answer(bound, APPROVE, approvals=scopes)
    assert PAID == []
    out = await bound.ainvoke(None, at("t"), context=Context(approvals=scopes))
    assert (out["outcome"], PAID) == ("completed", paid)
    assert [(r["outcome"], r["by"]) for r in await people(memory)] == [("completed", EXPIRY)]


async def test_an_expired_question_of_a_session_is_settled_when_it_is_resumed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = await session.run(PAY, "ann", thread="t", context={"expires": 60})
    assert await session.resume("t") == ended
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 61)
    with pytest.raises(InputError, match="the time for it is over"):
        await session.resume("t", APPROVE)
    assert ((await session.resume("t")).outcome, PAID) == ("completed", [])


async def test_policies_given_to_a_resume_decide_what_is_already_open(session: Session) -> None:
    await session.run(PAY, "ann", thread="t")
    assert (await session.resume("t", context={"approvals": {"other": "auto"}})).outcome == "waiting"
    assert (await session.resume("t", context={"approvals": {"pay": "deny"}})).outcome == "completed"
    await session.run(PAY, "bob", thread="u")
    assert ((await session.resume("u", context={"approve": "auto"})).outcome, PAID) == ("completed", [("bob", 0)])
    (record,) = [r for r in await session.calls("u") if r["kind"] == "human"]
    assert (record["outcome"], record["by"]) == ("completed", POLICY)


# New input while a question is open


async def test_new_input_is_refused_with_the_open_question_unless_that_is_dropped(memory: Persistence) -> None:
    bound = await start(memory)
    with pytest.raises(ThreadError, match=r"'t' waits: approval .* of clerk: pay .*discard"):
        await bound.ainvoke({"task": "bob"}, at("t"))
    assert len(await open_(bound)) == 1
    dropping = {"configurable": {"thread_id": "t", "discard": True}}
    out = await bound.ainvoke({"task": "bob"}, dropping, context=Context(approve="auto"))
    assert (out["outcome"], PAID) == ("completed", [("bob", 0)])
    assert (await bound.ainvoke({"task": "cem"}, at("t"), context=Context(approve="auto")))["outcome"] == "completed"


# The terminal


def test_the_prompt_says_who_asks_and_takes_the_name_of_who_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    with Session("memory://") as session:
        context = {"user": {"identity": "ann"}}
        ended = asyncio.run(session.run("payments:two", "bob", thread="t", context=context))
        lines = iter(["approve", "eve", "reject", "no"])
        monkeypatch.setattr("builtins.input", lambda: next(lines))
        with screen.err.capture() as shown:
            given = asking.ask(ended.questions)
        said_ = shown.get()
        assert "approval: one/0/0 · clerk · pay" in said_
        assert "approval: two/0/1 · clerk · pay" in said_
        assert [(a["by"], a["for"]) for a in (given or {}).values()] == [
            ("eve", ended.questions[0].request["shown"]),
            ("terminal", ended.questions[1].request["shown"]),
        ]
        assert asyncio.run(session.resume("t", given, context=context)).outcome == "completed"
        assert PAID == [("bob", 0)]
