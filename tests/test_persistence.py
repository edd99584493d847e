"""One file keeps threads and records: private, shared by sync and async, patient with other writers."""

import asyncio
import sqlite3
import stat
import threading
import time
from pathlib import Path

import pytest
from langgraph.store.base import PutOp

from runtime.persistence import Persistence, open_persistence
from runtime.store import MOMENT, Store
from state.errors import StorageError

NAMES = ("notes",)


def store_of(home: Persistence) -> Store:
    assert isinstance(home.store, Store)
    return home.store


def test_the_database_is_its_owners_alone(tmp_path: Path) -> None:
    open_persistence(f"sqlite:///{tmp_path / 'deep' / 'threads.db'}").close()
    assert stat.S_IMODE((tmp_path / "deep" / "threads.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("url", ["mysql://x", "threads.db", "sqlite:/threads.db"])
def test_an_unknown_kind_of_database_is_refused_with_those_that_are_known(url: str) -> None:
    with pytest.raises(StorageError, match="sqlite:///PATH or memory://"):
        open_persistence(url)


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "threads.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match=r"threads\.db cannot be used"):
        open_persistence(f"sqlite:///{tmp_path / 'threads.db'}")


async def test_many_writes_of_one_moment_are_all_kept(sqlite: Persistence) -> None:
    await asyncio.gather(*(sqlite.store.aput(NAMES, str(n), {"n": n}, index=False) for n in range(500)))
    found = await sqlite.store.asearch(NAMES, limit=1000)
    assert sorted(item.value["n"] for item in found) == list(range(500))


async def test_what_was_put_off_is_written_with_the_next_write_or_by_itself(sqlite: Persistence) -> None:
    store = store_of(sqlite)
    store.put_later(PutOp(NAMES, "one", {"n": 1}, False))
    assert store.put_now(PutOp(NAMES, "two", {"n": 2}, False))
    assert {item.key for item in await store.asearch(NAMES)} == {"one", "two"}
    store.put_later(PutOp(NAMES, "three", {"n": 3}, False))
    await asyncio.sleep(20 * MOMENT)
    rows = sqlite3.connect(sqlite.url.removeprefix("sqlite:///")).execute("select key from store").fetchall()
    assert ("three",) in rows


async def test_what_was_put_off_is_not_lost_when_the_database_is_closed(tmp_path: Path) -> None:
    home = open_persistence(f"sqlite:///{tmp_path / 'threads.db'}")
    store_of(home).put_later(PutOp(NAMES, "last", {"n": 9}, False))
    home.close()
    again = open_persistence(f"sqlite:///{tmp_path / 'threads.db'}")
    assert (await again.store.aget(NAMES, "last")) is not None
    again.close()


async def test_another_writer_is_waited_for_without_holding_up_the_loop(sqlite: Persistence) -> None:
    other = sqlite3.connect(sqlite.url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.2, lambda: other.execute("COMMIT")).start()
    ticks, began = 0, time.perf_counter()
    write = asyncio.ensure_future(sqlite.store.aput(NAMES, "patient", {"n": 1}, index=False))
    while not write.done():
        ticks += 1
        await asyncio.sleep(0.005)
    await write
    assert time.perf_counter() - began >= 0.19
    assert ticks > 10
    assert await sqlite.store.aget(NAMES, "patient") is not None


async def test_a_write_that_fails_is_the_error_of_whoever_waits_for_it(sqlite: Persistence) -> None:
    store_of(sqlite).conn.execute("DROP TABLE store")
    with pytest.raises(StorageError, match="no such table"):
        await sqlite.store.aput(NAMES, "x", {"n": 1}, index=False)
