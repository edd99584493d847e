"""Upkeep: a history that reads no step, `verify` over a whole database, and threads that are pruned and go on."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from makers import MAKERS
from typer.testing import CliRunner

from motet.cli import app
from motet.register import step_of
from motet.session import Session
from runtime.persistence import open_persistence
from runtime.travel import at
from state.errors import InputError, IntegrityError, ThreadError

SLICE = "slice_app:graph"
APPROVE = {"decisions": [{"type": "approve"}]}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'threads.db'}"


def motet(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def change(url: str, sql: str) -> None:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as conn:
        assert conn.execute(sql).rowcount > 0


async def turns(session: Session, count: int) -> None:
    for n in range(count):
        await session.run("react", f"What is {n} * 7?", thread="t")


async def same_as_the_engines(session: Session) -> None:
    await session.run(SLICE, "go", thread="t")
    graph = session.home.bind((await session._known("t"))[1])
    inside = (await session.state("t")).tasks[0].state.config["configurable"]["checkpoint_ns"]
    await session.resume("t", APPROVE)
    for namespace in ("", inside):
        full = [s async for s in graph.aget_state_history(at("t", namespace=namespace))]
        ours = await session.history("t", namespace)
        assert [(s.id, s.next, s.at) for s in ours] == [(step_of(s), s.next, s.created_at) for s in full]
        assert [s.outcome for s in ours] == [s.values.get("outcome") or "" for s in full]
        assert [(s.step, s.source) for s in ours] == [(s.metadata["step"], s.metadata["source"]) for s in full]
        assert [s.turn for s in ours] == [s.values.get("turn") or 0 for s in full]
        assert await session.history("t", namespace, limit=2) == ours[:2]


async def test_a_history_says_what_the_engine_says_of_each_step(url: str) -> None:
    with Session(url) as session:
        await same_as_the_engines(session)


async def test_a_history_in_memory_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with Session("memory://") as session:
        await same_as_the_engines(session)


async def test_a_history_that_was_changed_is_refused(url: str) -> None:
    with Session(url) as session:
        await turns(session, 1)
    change(url, """UPDATE steps SET about = replace(about, 'completed', 'rejected') WHERE about LIKE '%completed%'""")
    with Session(url) as session, pytest.raises(IntegrityError, match=r"thread 't' was changed at step \d"):
        await session.history("t")


# Verifying


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE checkpoints SET metadata = '{}' WHERE rowid = 2", "thread 't' was changed at step 0 ("),
        ("DELETE FROM writes WHERE rowid = 2", "thread 't' was changed at step -1 ("),
        ("DELETE FROM heads WHERE thread_id = 't'", "thread 't' has steps, but its head was taken away"),
        ("DELETE FROM store WHERE prefix LIKE 'book.t.%'", "the record book of thread 't' (main, turn-000001)"),
        ("UPDATE store SET value = replace(value, 'react', 'magic') WHERE prefix = 'threads'", "kept under 'threads'"),
        ("UPDATE store SET value = replace(value, '}', ' }') WHERE prefix LIKE 'book.%'", ""),
    ],
)
def test_verify_names_what_was_changed_and_says_so_by_its_exit_status(sql: str, said: str, url: str) -> None:
    motet("run", "react", "What is 6 * 7?", "--thread", "t", "--approve", "ask", "--db", url)
    motet("run", "react", "What is 6 * 8?", "--thread", "u", "--db", url)
    assert "the database is as it was saved" in motet("verify", "--db", url).stderr
    change(url, sql)
    found = motet("verify", "--db", url)
    assert found.exit_code == (1 if said else 0)
    assert said in found.stdout
    assert len(found.stdout.splitlines()) == bool(said)
    assert motet("verify", "t", "--db", url).exit_code == (1 if said else 0)
    assert "thread u is as it was saved" in motet("verify", "u", "--db", url).stderr or "threads" in said
    assert len(json.loads(motet("verify", "--db", url, "--json").stdout)["faults"]) == bool(said)


def test_verify_refuses_a_thread_that_is_not_there(url: str) -> None:
    found = motet("verify", "nobody", "--db", url)
    assert found.exit_code == 2
    assert "no thread is called 'nobody'" in found.stderr


# Pruning


async def test_a_pruned_thread_keeps_its_newest_turns_and_goes_on_as_before(url: str) -> None:
    with Session(url) as session:
        await turns(session, 4)
        steps, before = await session.history("t"), await session.state("t")
        pruned = await session.prune("t", keep=2)
        assert pruned.dropped > 0
        left = await session.history("t")
        assert pruned.left == len(left) == len(steps) - pruned.dropped
        assert {s for s in steps if s.turn >= 3} <= set(left)
        assert (await session.state("t")).values == before.values
        assert await session.verify() == []
        assert await session.prune("t", keep=2) == type(pruned)("t", 0, pruned.left)
    with Session(url) as session:
        again = await session.run("react", "What is 9 * 7?", thread="t")
        assert "63" in again.answer
        assert len((await session.state("t")).values["messages"]) == 10
        step = next(s for s in await session.history("t") if s.turn == 3 and s.next == ("think",))
        await session.fork("t", step.id, {"task": "What is 6 * 8?"})
        assert "48" in (await session.resume("t")).answer
        assert await session.verify() == []


async def test_a_pruned_thread_keeps_an_open_question_and_the_nested_graph_that_asks_it(url: str) -> None:
    with Session(url) as session:
        await session.run(SLICE, "first", thread="t")
        await session.resume("t", APPROVE)
        waiting = await session.run(SLICE, "second", thread="t")
        pruned = await session.prune("t")
        assert pruned.dropped > 10
        assert (await session.look("t")).questions == waiting.questions
        assert (await session.resume("t", APPROVE)).outcome == "completed"
        assert await session.verify() == []


async def test_what_a_pruned_turn_did_and_cost_stays_in_its_book(url: str) -> None:
    with Session(url) as session:
        await turns(session, 2)
        books = "SELECT count(*) FROM store WHERE prefix LIKE 'book.%'"
        before = sqlite3.connect(url.removeprefix("sqlite:///")).execute(books).fetchone()
        await session.prune("t")
        assert sqlite3.connect(url.removeprefix("sqlite:///")).execute(books).fetchone() == before


async def test_what_cannot_be_pruned_is_refused(url: str) -> None:
    with Session(url) as session:
        with pytest.raises(ThreadError, match="no thread is called 't'"):
            await session.prune("t")
        await turns(session, 2)
        with pytest.raises(InputError, match="take 1 or more"):
            await session.prune("t", keep=0)
        change(url, "UPDATE checkpoints SET metadata = '{}' WHERE rowid = 2")
        with pytest.raises(IntegrityError, match=r"thread 't' was changed at step 0"):
            await session.prune("t")
    with Session("memory://") as session:
        await turns(session, 2)
        with pytest.raises(InputError, match="nothing to prune"):
            await session.prune("t")


def test_pruning_at_the_command_line_says_what_went(url: str) -> None:
    for n in range(3):
        motet("run", "react", f"What is 6 * {n}?", "--thread", "t", "--db", url)
    said = motet("prune", "t", "--db", url)
    assert said.exit_code == 0
    assert "steps of t; " in said.stderr
    found = json.loads(motet("prune", "t", "--keep", "1", "--db", url, "--json").stdout)
    assert (found["thread"], found["dropped"]) == ("t", 0)


async def test_a_thread_at_work_cannot_be_pruned(url: str) -> None:
    with Session(url) as session, Session(url) as other:
        await turns(session, 2)
        async with session.home.saver.hold("t"):
            with pytest.raises(ThreadError, match="at work elsewhere"):
                await other.prune("t")


async def test_a_foreign_graph_is_pruned_by_its_inputs(url: str) -> None:
    home = open_persistence(url)
    graph = home.bind(MAKERS["critic"](lambda task: "the answer"))
    for _ in range(3):
        await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    before = (await graph.aget_state(at("t"))).values
    assert await home.saver.aprune_turns("t", 3) == (0, len(await home.saver.ahistory("t")))
    await home.saver.aprune_turns("t", 1)  # nobody says what the transcript holds: what it is made of stays
    assert (await graph.aget_state(at("t"))).values == before
    home.close()
