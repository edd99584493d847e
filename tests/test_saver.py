"""The guarded saver: the contract of every saver in full, one writer a thread, and nothing read that was changed."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint, uuid6
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from makers import MAKERS, scripted

from runtime.history import next_of
from runtime.lease import alone
from runtime.persistence import Persistence, open_persistence, serializer
from runtime.saver import Saver
from runtime.travel import at
from state.errors import IntegrityError, StorageError, ThreadError

ROOT = Path(__file__).resolve().parent.parent


def saver_of(home: Persistence) -> Saver:
    assert isinstance(home.saver, Saver)
    return home.saver


def step(number: int = 0, **values: Any) -> Any:
    return empty_checkpoint() | {"id": str(uuid6()), "channel_values": values or {"n": number}}


async def add(saver: Saver, thread: str, *, behind: Any = None, source: str = "loop") -> Any:
    return await saver.aput(behind or at(thread), step(), {"source": source, "step": 1}, {})  # type: ignore[typeddict-item]


@pytest.fixture
def turn(sqlite: Persistence) -> Persistence:
    """A database with one turn on the thread "t"."""
    sqlite.bind(MAKERS["critic"](scripted("worker", "the answer"))).invoke({"task": "go"}, at("t"), durability="sync")
    return sqlite


def elsewhere(home: Persistence) -> sqlite3.Connection:
    return sqlite3.connect(home.url.removeprefix("sqlite:///"))


def again(home: Persistence) -> Persistence:
    return open_persistence(home.url)


@checkpointer_test(name="Saver")
async def guarded() -> Any:
    conn = sqlite3.connect(":memory:", check_same_thread=False)
    yield Saver(conn, ThreadPoolExecutor(1), serde=JsonPlusSerializer(), key=b"k" * 32)


async def test_the_contract_of_savers_holds_in_full() -> None:
    report = await validate(guarded)
    assert {name: found.failures for name, found in report.results.items() if not found.passed} == {}
    assert len(report.results) == 8


# One writer


async def test_a_thread_is_held_by_one_run_at_a_time(sqlite: Persistence) -> None:
    other = again(sqlite)
    async with saver_of(sqlite).hold("t"):
        assert saver_of(other).held("t")
        with pytest.raises(ThreadError, match="'t' is at work elsewhere"):
            async with saver_of(other).hold("t"):
                pass
        with pytest.raises(ThreadError, match="'t' is at work elsewhere"):
            await add(saver_of(other), "t")
        await add(saver_of(sqlite), "t")
        await add(saver_of(other), "u")
    assert not saver_of(other).held("t")
    await add(saver_of(other), "t")
    other.close()


async def test_a_holder_whose_lease_lapsed_is_refused_at_its_next_write(sqlite: Persistence) -> None:
    other, mine = again(sqlite), saver_of(sqlite)
    mine.seconds = 0.0
    async with mine.hold("t"):
        async with saver_of(other).hold("t"):
            with pytest.raises(ThreadError, match="taken over"):
                await add(mine, "t")
            await add(saver_of(other), "t")
        with pytest.raises(ThreadError, match="taken over"):
            await add(mine, "t")
    assert len([s async for s in saver_of(other).alist(at("t"))]) == 1
    other.close()


async def test_a_lease_is_renewed_while_its_holder_is_at_work(sqlite: Persistence) -> None:
    other, mine = again(sqlite), saver_of(sqlite)
    mine.seconds = 0.3
    async with mine.hold("t"):
        await asyncio.sleep(1)
        assert saver_of(other).held("t")
        await add(mine, "t")
    other.close()


def test_the_lease_of_a_process_that_died_is_free_at_once(sqlite: Persistence) -> None:
    code = (
        "import asyncio, os, sys\nfrom runtime.persistence import open_persistence\n"
        "async def main():\n    async with open_persistence(sys.argv[1]).saver.hold('t'): os._exit(9)\n"
        "asyncio.run(main())"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, sqlite.url], env=environment, timeout=60, check=False)
    with saver_of(sqlite).cursor(transaction=False) as cursor:
        (holder, expires) = cursor.execute("SELECT holder, expires FROM heads").fetchone()
    assert holder
    assert expires > time.time()
    assert not saver_of(sqlite).held("t")


async def test_fifty_runs_at_once_on_one_thread_are_done_or_refused_aloud(sqlite: Persistence) -> None:
    graph = sqlite.bind(MAKERS["react"](scripted("worker", "the answer")))
    runs = [graph.ainvoke({"task": f"task {n}"}, at("t"), durability="sync") for n in range(50)]
    ends = await asyncio.gather(*runs, return_exceptions=True)
    done = [e for e in ends if isinstance(e, dict)]
    assert len(done) + sum(isinstance(e, ThreadError) for e in ends) == 50
    assert done
    assert (await graph.aget_state(at("t"))).values["turn"] == len(done)


async def test_a_step_behind_one_that_is_no_longer_the_newest_is_refused(sqlite: Persistence) -> None:
    saver = saver_of(sqlite)
    first = await add(saver, "t")
    await add(saver, "t", behind=first)
    with pytest.raises(ThreadError, match="went on meanwhile"):
        await add(saver, "t", behind=first)
    await add(saver, "t", behind=first, source="fork")


async def test_who_holds_a_thread_runs_on_it_as_often_as_they_like(memory: Persistence) -> None:
    graph = memory.bind(MAKERS["react"](scripted("worker", "the answer")))
    async with alone(memory.saver, "t"):
        for _ in range(2):
            await graph.ainvoke({"task": "go"}, at("t"))
        with pytest.raises(ThreadError):
            async with alone(memory.saver, "t"):
                pass


# Nothing changed


def newest(conn: sqlite3.Connection, table: str) -> int:
    return int(conn.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0])


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE checkpoints SET checkpoint = zeroblob(length(checkpoint)) WHERE rowid = {checkpoints}",
        "UPDATE checkpoints SET metadata = '{{}}' WHERE rowid = {checkpoints}",
        "UPDATE checkpoints SET parent_checkpoint_id = NULL WHERE rowid = {checkpoints}",
        "DELETE FROM checkpoints WHERE rowid = {checkpoints}",
        "DELETE FROM checkpoints WHERE rowid = 2",
        "DELETE FROM writes WHERE rowid = 3",
        "UPDATE writes SET value = zeroblob(3) WHERE rowid = {writes}",
        "UPDATE steps SET sum = zeroblob(32)",
        "UPDATE heads SET rows = rows + 1",
        "DELETE FROM heads",
        "DELETE FROM steps",
        "INSERT INTO writes SELECT thread_id, checkpoint_ns, checkpoint_id, 'x', '', 0, channel, type, value "
        "FROM writes WHERE rowid = 1",
    ],
)
async def test_a_thread_that_was_changed_is_refused_by_name(change: str, turn: Persistence) -> None:
    with elsewhere(turn) as conn:
        rows = {table: newest(conn, table) for table in ("checkpoints", "writes")}
        conn.execute(change.format(**rows))
    home = again(turn)
    graph = home.bind(MAKERS["critic"](scripted("worker", "the answer")))
    with pytest.raises(IntegrityError, match=r"thread 't'.*(changed|taken away|rows|put in)"):
        async for _ in graph.aget_state_history(at("t")):
            pass
    with pytest.raises(IntegrityError):
        await graph.ainvoke({"task": "on"}, at("t"))
    home.close()


async def test_another_key_opens_nothing(turn: Persistence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_KEY", "another key, that is long enough")
    home = again(turn)
    with pytest.raises(IntegrityError, match="another key"):
        await home.saver.aget_tuple(at("t"))
    home.close()


async def test_a_database_from_before_the_seals_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with SqliteSaver.from_conn_string(str(path)) as old:
        old.serde = serializer()
        graph = MAKERS["react"](scripted("worker", "the answer")).copy({"checkpointer": None})
        config = old.put(at("t"), step(), {"source": "loop", "step": 0}, {})  # type: ignore[typeddict-item]
        old.put_writes(config, [("n", 1)], "task")
    assert graph.checkpointer is None
    home = open_persistence(f"sqlite:///{path}")
    found = await home.saver.aget_tuple(at("t"))
    assert found is not None
    assert found.pending_writes == [("task", "n", 1)]
    home.close()


def test_a_database_of_a_newer_motet_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "new.db").execute("PRAGMA user_version = 99").connection.commit()
    with pytest.raises(StorageError, match="newer Motet"):
        open_persistence(f"sqlite:///{tmp_path / 'new.db'}")


def fail(saver: Saver, checkpoint: str) -> None:
    with saver.changing("t") as (change,):
        change.put_writes(("t", "", checkpoint), [("task", "n", "null", b"", "", 0)], replaces=False)
        change.cursor.execute("INSERT INTO nowhere VALUES (1)")


async def test_a_change_that_fails_leaves_nothing_behind(sqlite: Persistence) -> None:
    saver = saver_of(sqlite)
    async with saver.hold("t"):
        first = await add(saver, "t")
        with pytest.raises(StorageError, match="stopped working: no such table: nowhere"):
            fail(saver, first["configurable"]["checkpoint_id"])
        await add(saver, "t", behind=first)
    home = again(sqlite)
    assert len([s async for s in home.saver.alist(at("t"))]) == 2
    home.close()


# History


async def test_what_a_history_shows_is_what_the_engine_says(turn: Persistence) -> None:
    graph = turn.bind(MAKERS["critic"](scripted("worker", "the answer")))
    async for snapshot in graph.aget_state_history(at("t")):
        saved = await turn.saver.aget_tuple(snapshot.config)
        assert saved is not None
        assert sorted(next_of(saved.checkpoint["channel_values"])) == sorted(snapshot.next)


# Pruning


async def test_pruning_keeps_what_a_transcript_is_made_of(sqlite: Persistence) -> None:
    graph = sqlite.bind(MAKERS["react"](scripted("worker", "the answer")))
    for n in range(3):
        await graph.ainvoke({"task": f"task {n}"}, at("t"), durability="sync")
    before = await graph.aget_state(at("t"))
    await sqlite.saver.aprune(["t"])
    home = again(sqlite)
    after = await home.bind(graph).aget_state(at("t"))
    assert after.values == before.values
    assert len(after.values["messages"]) == 6
    found = await home.bind(graph).ainvoke({"task": "more"}, at("t"))
    assert len(found["messages"]) == 8
    home.close()


async def test_a_copy_of_a_thread_goes_its_own_way(turn: Persistence) -> None:
    await turn.saver.acopy_thread("t", "u")
    graph = turn.bind(MAKERS["critic"](scripted("worker", "another answer")))
    found = await graph.ainvoke({"task": "more"}, at("u"))
    assert len(found["messages"]) == 4
    assert len((await graph.aget_state(at("t"))).values["messages"]) == 2
