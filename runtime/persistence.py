"""Where threads are kept: one URL gives the saver, the store and the cache.

`sqlite:///path` is one file in WAL mode with mode 600; `memory://` lasts as long as the process;
`postgresql://…` needs the extra `postgres`. One saver serves sync and async callers.
"""

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.cache.base import BaseCache
from langgraph.cache.memory import InMemoryCache
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
from langgraph.store.base import BaseStore, Op, Result
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

from runtime.home import home
from state.errors import StorageError

T = TypeVar("T")
G = TypeVar("G")

ALLOWED = [
    ("langgraph.types", "Interrupt")
]  # all that a checkpoint of ours may contain besides plain data and messages


def serializer() -> JsonPlusSerializer:
    """Plain data, messages and interrupts; everything else is refused on reading."""
    return JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=ALLOWED)


@dataclass(frozen=True, slots=True)
class Persistence:
    """Saver, store and cache of one database."""

    url: str
    saver: BaseCheckpointSaver[str]
    store: BaseStore
    cache: BaseCache[Any]
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
        return Persistence(url, InMemorySaver(serde=serializer()), InMemoryStore(), InMemoryCache(), lambda: None)
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
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"the database {path} cannot be used: {error}. Name another with --db or MOTET_DB, or mend its permissions"
        ) from error

    def close() -> None:
        worker.shutdown(wait=True)
        saver.conn.close()
        store.conn.close()

    from langgraph.cache.sqlite import SqliteCache  # opens its own file: only where it is wanted

    return Persistence(url, saver, store, SqliteCache(path=str(path) + "-cache"), close)


def _connect(path: Path, **options: Any) -> sqlite3.Connection:
    conn: sqlite3.Connection = sqlite3.connect(path, check_same_thread=False, timeout=30, **options)
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
    """SqliteStore with async methods. Operations that wait at the same time are committed together."""

    def __init__(self, conn: sqlite3.Connection, worker: ThreadPoolExecutor) -> None:
        super().__init__(conn)
        self._worker = worker
        self._waiting: deque[tuple[list[Op], Future[list[Result]]]] = deque()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        done: Future[list[Result]] = Future()
        self._waiting.append((list(ops), done))
        self._worker.submit(self._commit_waiting)
        return await asyncio.wrap_future(done)

    def _commit_waiting(self) -> None:
        """Runs on the worker, which is one thread: whatever waits by now goes into one transaction."""
        group = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not group:
            return
        try:
            results = self.batch([op for wanted, _ in group for op in wanted])
        except Exception as error:  # the waiting callers get it
            for _, done in group:
                done.set_exception(error)
            return
        at = 0
        for wanted, done in group:
            done.set_result(results[at : at + len(wanted)])
            at += len(wanted)
