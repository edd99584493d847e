"""A full disk, a file that may not be written, a write that fails at any place: one clear error, and on it goes."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from graphs import orchestrator_worker
from graphs.bind import bind
from motet.session import Session
from runtime import persistence
from runtime.book import Book
from runtime.persistence import Persistence, open_persistence
from runtime.saver import Saver
from runtime.sync import Graph
from runtime.travel import at
from state.agent import Agent
from state.errors import StorageError
from state.plan import Plan
from state.record import repeated
from state.task import Task

WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE")
done: list[str] = []


def chain() -> Graph:
    """A plan of four steps in a row, each of which has an effect."""
    names = [f"s{n}" for n in range(4)]
    steps = [{"id": b, "worker": "hand", "task": b, "needs": [a] if a else []} for a, b in zip(["", *names], names)]  # noqa: B905

    async def work(task: Task) -> str:
        done.append(task.goal)
        return f"done {task.goal}"

    return orchestrator_worker.build(
        bind(Agent(name="planner", responsibility="Plans.", output=Plan), lambda task: {"steps": steps}),
        [bind(Agent(name="hand", responsibility="Works."), work)],
        bind(Agent(name="writer", responsibility="Writes."), lambda task: "all done"),
    )


graph = chain()  # what Session loads as "test_storage_faults:graph"


class Disk:
    """Lets so many writes and commits pass, and fails the next one, or all from there on."""

    def __init__(self) -> None:
        self.left, self.stays, self.failed = -1, False, 0

    def take(self) -> None:
        self.left -= 1
        if self.left == -1 or (self.left < -1 and self.stays and self.failed):
            self.failed += 1
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    def mend(self) -> None:
        self.left, self.stays = -1, False


DISK = Disk()


class Cursor(sqlite3.Cursor):
    def execute(self, sql: str, *args: Any) -> Any:
        if sql.lstrip().startswith(WRITES):
            DISK.take()
        return super().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> Any:
        DISK.take()
        return super().executemany(sql, *args)


class Connection(sqlite3.Connection):
    def cursor(self, *args: Any) -> Any:
        return super().cursor(Cursor)

    def commit(self) -> None:
        if self.in_transaction and self.total_changes:
            DISK.take()
        super().commit()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    connect = sqlite3.connect
    monkeypatch.setattr(persistence.sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Connection))
    DISK.mend()
    yield DISK
    DISK.mend()


async def check(home: Persistence, error: str = "stopped working") -> None:
    """A run ends with one error."""
    done.clear()
    with pytest.raises(StorageError, match=error):
        await home.bind(graph).ainvoke({"task": "go"}, at("t"), durability="sync")


async def check_resumed(home: Persistence) -> None:
    """It goes on when the cause is gone; at most one step ran twice, and nothing is broken."""
    bound = home.bind(graph)
    begun = (await bound.aget_state(at("t"))).created_at is not None
    found = await bound.ainvoke(None if begun else {"task": "go"}, at("t"), durability="sync")
    assert found["outcome"] == "completed"
    again = Counter(done)
    assert set(again) == {"s0", "s1", "s2", "s3"}
    assert again.total() <= 5
    assert isinstance(home.saver, Saver)
    assert home.saver.faults("t") == []
    book = await Book(home.store, thread="t", branch="main", turn=1).load()
    assert len(repeated(book.records())) <= 1


async def each_failure(folder: Path, disk: Disk, *, stays: bool, stride: int) -> int:
    """Fail each write in turn; how many a run makes."""
    for n in range(0, 10_000, stride):
        home, error = open_persistence(f"sqlite:///{folder / f'{n}.db'}"), ""
        done.clear()
        disk.left, disk.stays, disk.failed = n, stays, 0
        try:
            await home.bind(graph).ainvoke({"task": "go"}, at("t"), durability="sync")
        except StorageError as raised:
            error = str(raised)
        finally:
            disk.mend()
        if not disk.failed:
            return n
        over = len(done) == 4 and not error  # it was the lease that could not be given back
        assert over or f"{n}.db stopped working: database or disk is full. What was saved stands: make room" in error
        await check_resumed(home)
        home.close()
        again = open_persistence(f"sqlite:///{folder / f'{n}.db'}")
        assert (await again.bind(graph).aget_state(at("t"))).values["outcome"] == "completed"
        again.close()
    raise AssertionError("no run came to its end")


@pytest.mark.parametrize("stays", [False, True])
async def test_whichever_write_fails_the_run_ends_with_one_clear_error_and_goes_on_later(
    stays: bool, tmp_path: Path, disk: Disk
) -> None:
    assert await each_failure(tmp_path, disk, stays=stays, stride=7) > 50


@pytest.mark.slow
@pytest.mark.parametrize("stays", [False, True])
async def test_every_single_write_may_fail(stays: bool, tmp_path: Path, disk: Disk) -> None:
    assert await each_failure(tmp_path, disk, stays=stays, stride=1) > 50


def conn_of(home: Persistence) -> sqlite3.Connection:
    assert isinstance(home.saver, Saver)
    return home.saver.conn


@contextmanager
def limited(home: Persistence, pages: int) -> Iterator[None]:
    conn = conn_of(home)
    now = conn.execute("PRAGMA page_count").fetchone()[0]
    conn.execute(f"PRAGMA max_page_count = {now + pages}")
    yield
    conn.execute("PRAGMA max_page_count = 1000000")


@pytest.mark.parametrize("pages", [0, 1, 3, 5])
async def test_a_full_disk_ends_the_run_by_name_and_it_goes_on_when_there_is_room(
    pages: int, sqlite: Persistence
) -> None:
    with limited(sqlite, pages):
        await check(sqlite, r"threads\.db stopped working: database or disk is full.*: make room, then resume")
    await check_resumed(sqlite)


async def test_a_database_that_may_only_be_read_is_named_and_can_be_read(sqlite: Persistence) -> None:
    with limited(sqlite, 4):
        await check(sqlite)
    conn_of(sqlite).execute("PRAGMA query_only = 1")
    with pytest.raises(StorageError, match=r"threads\.db stopped working: .*readonly.*: let it be written to"):
        await sqlite.bind(graph).ainvoke(None, at("t"), durability="sync")
    assert (await sqlite.bind(graph).aget_state(at("t"))).created_at
    conn_of(sqlite).execute("PRAGMA query_only = 0")
    await check_resumed(sqlite)


async def test_a_session_says_what_happened_and_its_thread_goes_on(tmp_path: Path) -> None:
    with Session(f"sqlite:///{tmp_path / 'threads.db'}") as session:
        await session.run("test_storage_faults:graph", "go", thread="before")
        done.clear()
        with limited(session.home, 5), pytest.raises(StorageError, match=r"threads\.db stopped working: .* is full"):
            await session.run("test_storage_faults:graph", "go", thread="t")
        ended = await session.resume("t")
        assert ended.outcome == "completed"
        assert Counter(done).total() <= 5
        assert await session.verify() == []


async def test_a_damaged_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    with Session(f"sqlite:///{path}") as session:
        for n in range(8):
            await session.run("test_storage_faults:graph", "go", thread=f"t{n}")
    whole = path.read_bytes()
    page = int.from_bytes(whole[16:18])
    for begin in range(page, len(whole) - 8, page):  # what says of each page but the first what it is
        path.write_bytes(whole[:begin] + b"\xff" * 8 + whole[begin + 8 :])
        try:
            with Session(f"sqlite:///{path}") as session:
                said = await session.verify()
        except StorageError as error:
            said = [str(error)]
        assert said
        assert all("\n" not in line and (str(path) in line or "thread" in line or "kept" in line) for line in said)
