"""Sessions: the same promises as the command line, for notebooks and programs."""

import asyncio
import doctest
import sqlite3
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.runtime import RunControl
from langgraph.store.memory import InMemoryStore
from scripted import Scripted
from slice_app import SEND

from graphs import orchestrator_worker
from graphs.bind import bind
from motet import session as session_module
from motet.session import Session
from runtime.lease import alone
from state.agent import Agent
from state.errors import DocumentError, InputError, StorageError, ThreadError
from state.plan import Plan
from state.record import repeated

SLICE = "slice_app:graph"
APPROVE = {"decisions": [{"type": "approve"}]}


def planned(*steps: dict[str, Any]) -> Any:
    return lambda messages, tools: [("Plan", {"steps": list(steps)})]


def asks_once(messages: Any, tools: Any) -> Any:
    done = [m for m in messages if m.type == "tool"]
    return f"sent: {done[-1].text}" if done else [("send", {"to": messages[1].text.split()[-1]})]


slow = orchestrator_worker.build(
    bind(
        Agent(name="planner", responsibility="Plans.", output=Plan),
        Scripted(
            script=planned(
                {"id": "a", "worker": "counter", "task": "one"},
                {"id": "b", "worker": "counter", "task": "two", "needs": ["a"]},
            )
        ),
    ),
    [bind(Agent(name="counter", responsibility="Counts."), Scripted(script=lambda m, t: "three", seconds=0.3))],
    bind(Agent(name="writer", responsibility="Writes up."), Scripted(script=lambda m, t: "all counted")),
)
two_questions = orchestrator_worker.build(
    bind(
        Agent(name="planner", responsibility="Plans.", output=Plan),
        Scripted(
            script=planned(
                {"id": "a", "worker": "clerk", "task": "write to ann"},
                {"id": "b", "worker": "clerk", "task": "write to bob"},
            )
        ),
    ),
    [bind(Agent(name="clerk", responsibility="Sends letters.", tools=(SEND,)), Scripted(script=asks_once))],
    bind(Agent(name="writer", responsibility="Writes up."), Scripted(script=lambda m, t: "both sent")),
)


@pytest.fixture
def session() -> Iterator[Session]:
    with Session() as opened:
        yield opened


def test_the_example_of_the_module_runs() -> None:
    ran = doctest.testmod(session_module)
    assert ran.attempted >= 3
    assert ran.failed == 0


async def test_a_question_waits_is_answered_and_every_call_is_in_the_book_once(session: Session) -> None:
    ended = await session.run(SLICE, "go", thread="t")
    assert (ended.outcome, ended.answer, len(ended.questions)) == ("waiting", "", 1)
    assert ended.usage["total"]["calls"] == 4
    assert (await session.threads())[0]["outcome"] == "waiting"
    done = await session.resume("t", APPROVE)
    assert (done.outcome, done.answer, done.unfinished) == ("completed", "all done", False)
    records = await session.calls("t")
    assert repeated(records) == []
    assert len([r for r in records if r["kind"] == "model"]) == 10


async def test_resuming_what_waits_or_is_over_only_shows_it(session: Session) -> None:
    waiting = await session.run(SLICE, "go", thread="t")
    assert await session.resume("t") == waiting
    done = await session.resume("t", APPROVE)
    assert await session.resume("t") == done == await session.look("t")


async def test_several_questions_are_answered_one_by_one_or_together(session: Session) -> None:
    ended = await session.run("test_session:two_questions", "go", thread="t")
    first, second = ended.questions
    with pytest.raises(InputError, match="2 questions are open: answer by id"):
        await session.resume("t", APPROVE)
    ended = await session.resume("t", {first.id: APPROVE})
    assert [q.id for q in ended.questions] == [second.id]
    ended = await session.resume("t", APPROVE)
    assert ended.outcome == "completed"
    together = await session.run("test_session:two_questions", "go", thread="u")
    assert (await session.resume("u", {q.id: APPROVE for q in together.questions})).outcome == "completed"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([], "an answer is a JSON object"),
        ({}, "an answer is a JSON object"),
        ({"decisions": []}, "does not fit"),
        ({"decisions": "approve"}, "does not fit"),
        ({"decisions": [{"type": "maybe"}]}, "does not fit"),
        ({"decisions": [{"type": "respond", "message": "hi"}]}, "takes approve or edit or reject, not respond"),
        ({"decisions": [{"type": "edit"}]}, "an edit needs args"),
        ({"decisions": [{"type": "approve"}, {"type": "approve"}]}, "1 decision"),
        ({"nobody": APPROVE}, "no question 'nobody' is open"),
        ({"decisions": [{"type": "approve"}], "why": "so"}, "does not fit"),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused_with_the_question_and_can_be_given_again(
    session: Session, answer: Any, says: str
) -> None:
    await session.run(SLICE, "go", thread="t")
    with pytest.raises(InputError, match=says) as refused:
        await session.resume("t", answer)
    assert 'send {"to": "ann"}' in str(refused.value)
    assert (await session.resume("t", APPROVE)).outcome == "completed"


async def test_an_answer_to_a_thread_that_asks_nothing_is_refused(session: Session) -> None:
    await session.run("react", "What is 6 * 7?", thread="t")
    with pytest.raises(InputError, match=r"'t' asks nothing \(completed\)"):
        await session.resume("t", APPROVE)


async def test_a_further_turn_keeps_the_threads_options_but_for_those_given_anew(session: Session) -> None:
    await session.run("react", "What is 6 * 7?", thread="t", context={"seed": 7, "max_calls": 50})
    await session.run("react", "What is 6 * 8?", thread="t", context={"max_calls": 60})
    about = await session.register.known("t")
    assert (about.context["seed"], about.context["max_calls"]) == (7, 60)
    assert (await session.state("t")).values["turn"] == 2


async def test_models_and_folder_are_those_of_the_run_wherever_it_is_resumed(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A\n\nSome text.\n")
    monkeypatch.setenv("MOTET_DOCS", str(tmp_path / "docs"))
    await session.run("react", "What is there?", thread="t")
    monkeypatch.delenv("MOTET_DOCS")
    monkeypatch.setenv("MOTET_MODEL", "openai:other")
    about = await session.register.known("t")
    assert about.context["docs"] == str(tmp_path / "docs")
    assert about.context["worker"] == "offline"


async def test_new_input_while_a_question_is_open_is_refused_unless_it_is_dropped(session: Session) -> None:
    await session.run(SLICE, "go", thread="t")
    with pytest.raises(ThreadError, match=r'waits: approval .*: send {"to": "ann"}.*--discard'):
        await session.run(SLICE, "go again", thread="t")
    assert (await session.resume("t")).outcome == "waiting"
    ended = await session.run(SLICE, "go again", thread="t", discard=True, context={"approve": "deny"})
    assert ended.outcome == "completed"
    assert (await session.state("t")).values["task"]["goal"] == "go again"


async def test_a_thread_of_another_pattern_is_refused(session: Session) -> None:
    await session.run("react", "What is 6 * 7?", thread="t")
    with pytest.raises(ThreadError, match="'t' belongs to react, not to critic"):
        await session.run("critic", "What is 6 * 7?", thread="t")


@pytest.mark.parametrize("thread", [" t", "a\nb", "x" * 201, "\udcff"])
async def test_a_name_that_cannot_be_typed_again_is_refused(session: Session, thread: str) -> None:
    with pytest.raises(InputError, match="cannot name a thread"):
        await session.run("react", "What is 6 * 7?", thread=thread)


async def test_nothing_is_saved_of_a_run_that_is_refused(session: Session, tmp_path: Path) -> None:
    for task, context in (("", {}), ("x" * 200_001, {}), ("go", {"nonsense": 1}), ("go", {"worker": "openai:x"})):
        with pytest.raises(InputError):
            await session.run("react", task, thread="t", context=context)
    with pytest.raises(DocumentError, match="no such folder"):
        await session.run("react", "go", thread="t", context={"docs": str(tmp_path / "none")})
    assert await session.threads() == []


@pytest.mark.parametrize(
    ("context", "says"),
    [
        ({"nonsense": 1}, "nonsense: .* Known options: planner, worker, judge, docs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_usd": -1}, "max_usd"),
        ({"max_usd": float("nan")}, "max_usd"),
        ({"max_usd": float("inf")}, "max_usd"),
        ({"max_seconds": float("inf")}, "max_seconds"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"approve": "perhaps"}, "approve"),
        ({"worker": "gpt-7"}, "no model is called 'gpt-7'"),
        ({"worker": "openai:gpt-7"}, "set OPENAI_API_KEY"),
    ],
)
async def test_an_option_that_cannot_be_is_refused_by_name(session: Session, context: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        await session.run("react", "go", context=context)


async def test_dollars_bind_only_models_with_a_price(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with pytest.raises(InputError, match="needs the price of openai:gpt-7, which serves as judge"):
        await session.run("react", "go", context={"judge": "openai:gpt-7", "max_usd": 1})
    assert (await session.run("react", "What is 6 * 7?", context={"max_usd": 1})).outcome == "completed"


async def test_a_drain_lets_running_calls_end_starts_no_more_and_is_resumable(session: Session) -> None:
    control, events = RunControl(), []

    def listen(event: Any) -> None:
        events.append(event)
        if event.get("agent") == "counter" and event["call"] == "started":
            control.request_drain("enough")

    ended = await session.run("test_session:slow", "go", thread="t", listen=listen, control=control)
    assert (ended.outcome, ended.reason, ended.unfinished) == ("cancelled", "enough", True)
    assert events[0] == {"thread": "t", "pattern": "test_session:slow"}
    by_visit = {r["visit"]: r["outcome"] for r in await session.calls("t")}
    assert by_visit == {"plan/0/0": "completed", "work/0/a": "completed"}
    assert (await session.threads())[0]["outcome"] == "unfinished"
    done = await session.resume("t")
    assert (done.outcome, done.usage["total"]["calls"]) == ("completed", 4)
    assert repeated(await session.calls("t")) == []


async def test_a_turn_that_died_before_its_first_step_begins_when_it_is_resumed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    await session.run("react", "What is 6 * 7?", thread="t")

    async def dies(*_: Any, **__: Any) -> Any:
        raise RuntimeError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(Session, "_go", dies)
        with pytest.raises(RuntimeError):
            await session.run("react", "What is 6 * 8?", thread="t")
    assert (await session.threads())[0]["outcome"] == "unfinished"
    assert (await session.look("t")).unfinished
    with pytest.raises(ThreadError, match="its last turn is not over"):
        await session.run("react", "What is 6 * 9?", thread="t")
    done = await session.resume("t")
    assert done.outcome == "completed"
    assert (await session.state("t")).values["task"]["goal"] == "What is 6 * 8?"


async def test_one_of_two_who_work_on_a_thread_wins_and_the_other_is_told(session: Session) -> None:
    await session.run(SLICE, "go", thread="t")
    async with alone(session.home.saver, "t"):
        assert (await session.threads())[0]["outcome"] == "running"
        with pytest.raises(ThreadError, match="'t' is at work elsewhere"):
            await session.resume("t", APPROVE)
    assert not session.home.saver.held("t")
    both = await asyncio.gather(session.resume("t", APPROVE), session.resume("t", APPROVE), return_exceptions=True)
    assert sorted(type(b).__name__ for b in both) == ["Ended", "ThreadError"]


async def test_a_thread_that_its_graph_has_grown_away_from_is_refused_by_the_missing_name(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = RunControl()
    await session.run("test_session:slow", "go", thread="t", control=control, listen=lambda e: _drain(control, e))
    older = copy(slow)
    older.nodes = {name: node for name, node in slow.nodes.items() if name != "work"}
    with monkeypatch.context() as patched:
        patched.setitem(globals(), "slow", older)
        with pytest.raises(ThreadError, match="'t' stopped before work, which test_session:slow no longer has"):
            await session.resume("t")
    assert (await session.resume("t")).outcome == "completed"


def _drain(control: RunControl, event: Any) -> None:
    if "agent" in event:
        control.request_drain("enough")


async def test_a_fork_asks_again_repeats_nothing_and_knows_its_branch(session: Session) -> None:
    waiting = await session.run(SLICE, "go", thread="t")
    await session.resume("t", APPROVE)
    steps = await session.history("t")
    step = next(s for s in steps if s.next == ("team", "counter")).id
    assert await session.fork("t", step) == "main-1"
    again = await session.resume("t")
    assert (again.branch, again.outcome) == ("main-1", "waiting")
    assert again.usage == waiting.usage
    assert repeated(await session.calls("t")) == []


async def test_a_fork_with_another_task_asks_that(session: Session) -> None:
    await session.run("react", "What is 6 * 7?", thread="t")
    steps = await session.history("t")
    step = next(s for s in steps if s.next == ("think",)).id
    await session.fork("t", step, {"task": "What is 6 * 8?"})
    done = await session.resume("t")
    assert (done.outcome, "48" in done.answer) == ("completed", True)


async def test_a_fork_of_what_is_not_there_is_refused(session: Session) -> None:
    await session.run(SLICE, "go", thread="t")
    await session.run("react", "What is 6 * 7?", thread="u")
    steps = [s.id for s in await session.history("t")]
    with pytest.raises(ThreadError, match=f"'u' has no step '{steps[0]}'"):
        await session.fork("u", steps[0])
    with pytest.raises(InputError, match="the state has no nonsense; it has answer, "):
        await session.fork("t", steps[0], {"nonsense": 1})
    with pytest.raises(ThreadError, match=r"nested are team, team\|generate"):
        await session.fork("t", steps[0], inside="crew:1")
    with pytest.raises(ThreadError, match="nothing had run"):
        await session.fork("t", steps[-1])


async def test_states_and_calls_of_nested_graphs_are_found_by_their_namespace(session: Session) -> None:
    await session.run(SLICE, "go", thread="t")
    (team,) = (t for t in (await session.state("t")).tasks if t.name == "team")
    inside = team.state.config["configurable"]["checkpoint_ns"]
    inner = await session.state("t", inside=inside)
    assert inner.next == ("generate",)
    visits = [r["visit"] for r in await session.calls("t", inside=inside)]
    assert visits == ["generate/0", "think/1", "act/1/0", "think/2", "gate/2"]
    first = (await session.history("t", inside))[-1]
    before = await session.calls("t", first.id, inside)
    assert before == []
    with pytest.raises(InputError, match="no scratches; it has answer, asked, author, best"):
        await session.fork("t", inner.config["configurable"]["checkpoint_id"], {"scratches": []}, inside=inside)


async def test_an_unknown_thread_is_refused_with_the_nearest_names(session: Session) -> None:
    with pytest.raises(ThreadError, match="there are no threads yet"):
        await session.resume("t")
    await session.run("react", "What is 6 * 7?", thread="sums")
    with pytest.raises(ThreadError, match="no thread is called 'sum'; did you mean sums"):
        await session.look("sum")


async def test_a_thread_whose_graph_cannot_be_loaded_is_listed_all_the_same(session: Session) -> None:
    await session.run("react", "What is 6 * 7?", thread="t")
    about = await session.register.known("t")
    await session.register.keep("u", replace(about, name="gone_module:graph"))
    assert {t["thread"]: t["outcome"] for t in await session.threads()} == {"t": "completed", "u": "unknown"}


async def test_what_cannot_be_kept_ends_the_run_and_is_no_agents_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    put, left = InMemoryStore.aput, [3]

    async def fills(*args: Any, **kwargs: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise sqlite3.OperationalError("database or disk is full")
        await put(*args, **kwargs)

    with Session("memory://") as session:
        with monkeypatch.context() as patched:
            patched.setattr(InMemoryStore, "aput", fills)
            with pytest.raises(StorageError, match=r"record book cannot be written: .* is full.* then resume"):
                await session.run("test_session:slow", "go", thread="t")
        done = await session.resume("t")
        assert done.outcome == "completed"
        assert repeated(await session.calls("t")) == []


async def test_the_folder_of_documents_is_read_before_the_run_and_told(session: Session, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# A\n\nSome text.\n")
    (docs / "link.md").symlink_to(docs / "a.md")
    events: list[Any] = []
    await session.run("react", "What is there?", context={"docs": str(docs)}, listen=events.append)
    assert [sorted(e) for e in events[:3]] == [["docs"], ["docs", "refreshed"], ["pattern", "thread"]]
    assert events[1]["refreshed"].read == 1
    assert events[1]["refreshed"].skipped == [("link.md", "a link; links are not followed")]


def _text(path: str) -> str:
    return Path(path).read_text("utf-8")


async def test_an_application_writes_its_report(session: Session, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "handbook.md").write_text("# Refunds\n\nRefunds are given within 30 days of purchase.\n")
    ended = await session.run("research", "When are refunds given?", context={"docs": str(docs)})
    assert "30 days" in _text(ended.report)
    assert ended.citations == ["handbook.md#refunds"]
    plain = await session.run("react", "What is 6 * 7?")
    assert plain.report == ""
