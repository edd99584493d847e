"""Where threads are kept: one URL gives the saver and the store.

`sqlite:///path` is one file in WAL mode with mode 600; `memory://` lasts as long as the process. One
saver serves sync and async callers.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import orjson
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.base import BaseStore, GetOp, Op, PutOp, Result
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

from runtime.home import home
from state.errors import StorageError

# what SqliteStore makes of a put, without what it allows for: deletions, vectors, expiry
INSERT = """INSERT OR REPLACE INTO store (prefix, key, value, created_at, updated_at, expires_at, ttl_minutes)
VALUES (?, ?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, NULL, NULL)"""
T = TypeVar("T")
Row = tuple[str, str, bytes]
Waiting = tuple[list[Op], "asyncio.Future[list[Result]]"]
G = TypeVar("G")

MOMENT = 0.002  # seconds that a record may wait for company
FEW = 8  # operations that are done where they stand
PATIENCE = 30.0  # seconds to wait for another writer
ALLOWED = [
    ("langgraph.types", "Interrupt")
]  # all that a checkpoint of ours may contain besides plain data and messages


def serializer() -> JsonPlusSerializer:
    """Plain data, messages and interrupts; everything else is refused on reading."""
    return JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=ALLOWED)


@dataclass(frozen=True, slots=True)
class Persistence:
    """Saver and store of one database; the book and the cache of answers stand in the store."""

    url: str
    saver: BaseCheckpointSaver[str]
    store: BaseStore
    close: Callable[[], None]

    def bind(self, graph: G) -> G:
        """A copy of a compiled graph that keeps its threads here."""
        return graph.copy({"checkpointer": self.saver, "store": self.store})  # type: ignore[attr-defined, no-any-return]  # Pregel.copy


def open_persistence(url: str = "") -> Persistence:
    """Open a database by URL; empty: MOTET_DB, else a file in the home folder.

    Raises StorageError when it cannot be opened, with the path and the cause.
    """
    url = url or os.environ.get("MOTET_DB", "") or f"sqlite:///{home() / 'motet.db'}"
    if url == "memory://":
        return Persistence(url, InMemorySaver(serde=serializer()), InMemoryStore(), lambda: None)
    if url.startswith("sqlite:///"):
        return _sqlite(url, Path(url.removeprefix("sqlite:///")).expanduser())
    raise StorageError(f"{url!r} is no database: use sqlite:///PATH or memory://")


def _sqlite(url: str, path: Path) -> Persistence:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        worker = ThreadPoolExecutor(1, thread_name_prefix="motet-db")
        conn = _connect(path)
        store = Store(conn, worker)
        saver = Saver(conn, worker, store)
        saver.setup()
        store.setup()
        conn.execute("DROP INDEX IF EXISTS store_prefix_idx")  # the primary key serves; a page less for every record
        conn.commit()
        conn.execute("PRAGMA busy_timeout=0")  # from now on nothing waits inside SQLite, where it would hang the loop
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"the database {path} cannot be used: {error}. Name another with --db or MOTET_DB, or mend its permissions"
        ) from error

    def close() -> None:
        worker.shutdown(wait=True)
        with suppress(sqlite3.Error):  # a last attempt at what could not be written before
            store.batch([])
        conn.close()

    return Persistence(url, saver, store, close)


def _connect(path: Path) -> sqlite3.Connection:
    conn = sqlite3.connect(path, check_same_thread=False, timeout=PATIENCE)
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute("PRAGMA synchronous=NORMAL")
    return conn


def patiently(work: Callable[[], T]) -> T:
    """Do the work, again and again while another process is writing; for the database's own thread."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not _busy(error) or time.monotonic() > end:
                raise
            time.sleep(0.002)


class Saver(SqliteSaver):
    """SqliteSaver whose async methods run on the database's own thread: one object for sync and async."""

    def __init__(self, conn: sqlite3.Connection, worker: ThreadPoolExecutor, store: "Store") -> None:
        super().__init__(conn, serde=serializer())
        self._worker, self._store = worker, store
        self.lock = store.lock  # one connection: a second one would empty its page cache at every write

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        with super().cursor(transaction) as cursor:
            if transaction:
                self._store.write_with(cursor)
            yield cursor

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, patiently, work)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._do(lambda: self.get_tuple(config))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._do(lambda: self.put(config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._do(lambda: self.put_writes(config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        await self._do(lambda: self.delete_thread(thread_id))

    async def aget_delta_channel_history(self, **kwargs: Any) -> Any:
        return await self._do(lambda: self.get_delta_channel_history(**kwargs))

    async def alist(self, config: RunnableConfig | None, **kwargs: Any) -> AsyncIterator[CheckpointTuple]:
        for found in await self._do(lambda: list(self.list(config, **kwargs))):
            yield found


class Store(SqliteStore):
    """SqliteStore with async methods. What is asked for in the same moment is committed together.

    A few reads and writes that meet no other writer are done where they stand: some 40 µs, less than
    a thread costs. Everything else goes to the database's own thread.
    """

    def __init__(self, conn: sqlite3.Connection, worker: ThreadPoolExecutor) -> None:
        super().__init__(conn)
        self._worker = worker
        self._waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Waiting]] = WeakKeyDictionary()
        self._later: list[Row] = []
        self._since, self._watched = 0.0, False

    def put_now(self, op: PutOp) -> bool:
        """Write where it stands, if no other writer is met; says whether it is done."""
        row = _row(op)
        if not self.lock.acquire(blocking=False):
            return False
        try:
            self.write_with(self.conn, row)
            self.conn.commit()
        except sqlite3.OperationalError as error:
            self.conn.rollback()
            if not _busy(error):
                raise
            return False
        finally:
            self.lock.release()
        return True

    def put_later(self, op: PutOp) -> None:
        """Write together with whatever is written next, and at the latest in a moment.

        What a node's last call brought is so committed with what the node returns: both or neither.
        """
        row = _row(op)  # what cannot be written is the error of whoever brings it, not of those who write next
        loop = asyncio.get_running_loop()
        if not self._later:
            self._since = loop.time()
        self._later.append(row)
        if not self._watched:
            self._watched = True
            loop.call_later(MOMENT, self._write_later, loop)

    def write_with(self, cursor: sqlite3.Cursor | sqlite3.Connection, *more: Row) -> None:
        """Add what was put off, and more, to a transaction that is about to be committed."""
        put_off, self._later = self._later, []
        rows = [*put_off, *more]
        try:
            if rows:
                cursor.executemany(INSERT, rows)
        except BaseException:
            self._later = put_off + self._later
            raise

    def _write_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing was written since: write what was put off. What was put off only now has its own moment."""
        left = self._since + MOMENT - loop.time()
        self._watched = bool(self._later) and left > 0
        if self._watched:
            loop.call_later(left, self._write_later, loop)
        elif self._later:
            self._worker.submit(patiently, lambda: self.batch([]))

    @contextmanager
    def _cursor(self, *, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        with super()._cursor(transaction=transaction) as cursor:
            if transaction:
                self.write_with(cursor)
            yield cursor

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        loop = asyncio.get_running_loop()
        waiting = self._waiting.setdefault(loop, [])
        if not waiting:
            loop.call_soon(self._flush, loop)
        done: asyncio.Future[list[Result]] = loop.create_future()
        waiting.append((list(ops), done))
        return await done

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        group = self._waiting.pop(loop)
        ops = [op for wanted, _ in group for op in wanted]
        if len(ops) <= FEW and not self.lock.locked() and all(isinstance(op, GetOp | PutOp) for op in ops):
            try:
                return _hand_out(group, self.batch(ops))
            except sqlite3.OperationalError as error:
                if not _busy(error):
                    return _hand_out(group, error)
            except Exception as error:  # whoever waits gets it
                return _hand_out(group, error)
        self._worker.submit(self._commit, loop, group, ops)
        return None

    def _commit(self, loop: asyncio.AbstractEventLoop, group: list[Waiting], ops: list[Op]) -> None:
        """On the database's own thread. What its caller no longer waits for is written all the same."""
        try:
            found: list[Result] | Exception = patiently(lambda: self.batch(ops))
        except Exception as error:  # whoever waits gets it
            found = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_hand_out, group, found)


def _row(op: PutOp) -> Row:
    return ".".join(op.namespace), op.key, orjson.dumps(op.value)


def _hand_out(group: list[Waiting], found: list[Result] | Exception) -> None:
    """Give each caller its own results, or all of them the error."""
    at = 0
    for wanted, done in group:
        if done.done():
            pass
        elif isinstance(found, Exception):
            done.set_exception(found)
        else:
            done.set_result(found[at : at + len(wanted)])
        at += len(wanted)


def _busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
