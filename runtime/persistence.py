"""Where threads are kept: one URL gives the saver and the store.

`sqlite:///path` is one file in WAL mode with mode 600; `memory://` lasts as long as the process;
`postgresql://…` needs the extra `postgres`. One saver serves sync and async callers.
"""

import asyncio
import os
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

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

T = TypeVar("T")
G = TypeVar("G")

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
        saver = Saver(_connect(path), worker)
        saver.setup()
        store = Store(_connect(path, isolation_level=None), worker)
        store.setup()
        store.conn.execute("PRAGMA busy_timeout=0")
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"the database {path} cannot be used: {error}. Name another with --db or MOTET_DB, or mend its permissions"
        ) from error

    def close() -> None:
        worker.shutdown(wait=True)
        saver.conn.close()
        store.conn.close()

    return Persistence(url, saver, store, close)


def _connect(path: Path, **options: Any) -> sqlite3.Connection:
    conn: sqlite3.Connection = sqlite3.connect(path, check_same_thread=False, timeout=PATIENCE, **options)
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute("PRAGMA synchronous=NORMAL")
    return conn


class Saver(SqliteSaver):
    """SqliteSaver whose async methods run on the database's own thread: one object for sync and async."""

    def __init__(self, conn: sqlite3.Connection, worker: ThreadPoolExecutor) -> None:
        super().__init__(conn, serde=serializer())
        self._worker = worker

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

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
    """SqliteStore with async methods.

    A small operation that meets no other writer is done where it stands (some 40 µs, less than a
    thread costs). Whatever would wait goes to the database's own thread, and all that waits there at
    the same time is committed together.
    """

    def __init__(self, conn: sqlite3.Connection, worker: ThreadPoolExecutor) -> None:
        super().__init__(conn)
        self._worker = worker
        self._waiting: deque[tuple[list[Op], Future[list[Result]]]] = deque()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        wanted = list(ops)
        if not self._waiting and not self.lock.locked() and all(isinstance(op, GetOp | PutOp) for op in wanted):
            try:
                return self.batch(wanted)
            except sqlite3.OperationalError as error:
                if not _busy(error):
                    raise
        done: Future[list[Result]] = Future()
        self._waiting.append((wanted, done))
        self._worker.submit(self._commit_waiting)
        return await asyncio.wrap_future(done)

    def _commit_waiting(self) -> None:
        """Runs on the worker, which is one thread. What its caller no longer waits for is written all the same."""
        group = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not group:
            return
        heard = [done.set_running_or_notify_cancel() for _, done in group]
        try:
            results = self._patiently([op for wanted, _ in group for op in wanted])
        except Exception as error:  # the waiting callers get it
            for listens, (_, done) in zip(heard, group, strict=True):
                if listens:
                    done.set_exception(error)
            return
        at = 0
        for listens, (wanted, done) in zip(heard, group, strict=True):
            if listens:
                done.set_result(results[at : at + len(wanted)])
            at += len(wanted)

    def _patiently(self, ops: list[Op]) -> list[Result]:
        """This connection never waits inside SQLite, so that the event loop cannot hang: it waits here."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self.batch(ops)
            except sqlite3.OperationalError as error:
                if not _busy(error) or time.monotonic() > end:
                    raise
                time.sleep(0.002)


def _busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
