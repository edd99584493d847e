"""Where threads are kept: one URL gives the saver and the store.

`sqlite:///path` is one file in WAL mode with mode 600; `memory://` lasts as long as the process. One
saver serves sync and async callers.
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from runtime.history import Shown, about, shown
from runtime.home import home
from runtime.lease import busy
from runtime.patience import PATIENCE, patiently
from runtime.rows import Hold
from runtime.saver import Saver
from runtime.seal import Sealer
from runtime.store import Store
from runtime.veil import key
from state.errors import StorageError

G = TypeVar("G")

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
    saver: Any
    store: BaseStore
    close: Callable[[], None]

    def bind(self, graph: G) -> G:
        """A copy of a compiled graph that keeps its threads here."""
        return graph.copy({"checkpointer": self.saver, "store": self.store})  # type: ignore[attr-defined, no-any-return]  # Pregel.copy


class Memory(InMemorySaver):
    """Threads that last as long as the process; each is held by one run at a time, too."""

    def __init__(self) -> None:
        super().__init__(serde=serializer())
        self._held: set[str] = set()

    @asynccontextmanager
    async def hold(self, thread: str) -> AsyncIterator[None]:
        """Be the only one at work on a thread. Raises ThreadError while somebody else is."""
        if thread in self._held:
            raise busy(thread)
        self._held.add(thread)
        try:
            yield
        finally:
            self._held.discard(thread)

    async def ahistory(self, thread: str, namespace: str = "", limit: int | None = None) -> Sequence[Shown]:
        """A thread's steps, newest first, as far as a list shows them."""
        steps = self.list({"configurable": {"thread_id": thread, "checkpoint_ns": namespace}}, limit=limit)
        return [shown(thread, namespace, s.checkpoint["id"], about(s.checkpoint, s.metadata)) for s in steps]

    def held(self, thread: str) -> bool:
        """Whether somebody works on a thread right now."""
        return thread in self._held


def open_persistence(url: str = "") -> Persistence:
    """Open a database by URL; empty: MOTET_DB, else a file in the home folder.

    Raises StorageError when it cannot be opened, with the path and the cause.
    """
    url = url or os.environ.get("MOTET_DB", "") or f"sqlite:///{home() / 'motet.db'}"
    if url == "memory://":
        return Persistence(url, Memory(), InMemoryStore(), lambda: None)
    if url.startswith("sqlite:///"):
        return _sqlite(url, Path(url.removeprefix("sqlite:///")).expanduser())
    raise StorageError(f"{url!r} is no database: use sqlite:///PATH or memory://")


def _sqlite(url: str, path: Path) -> Persistence:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        worker = ThreadPoolExecutor(1, thread_name_prefix="motet-db")
        conn = _connect(path)
        holds = dict[str, Hold]()
        store = Store(conn, worker, Sealer(key()), holds)
        # one connection for both: a second one would empty its page cache at every write
        saver = Saver(conn, worker, serde=serializer(), key=key(), beside=store, holds=holds, lock=store.lock)
        store.setup()
        saver.setup()  # after the store's tables: it seals what is in them
        conn.execute("DROP INDEX IF EXISTS store_prefix_idx")  # the primary key serves; a page less for every record
        conn.commit()
        conn.execute("PRAGMA busy_timeout=0")  # from now on nothing waits inside SQLite, where it would hang the loop
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"the database {path} cannot be used: {error}. Name another with --db or MOTET_DB, or mend its permissions"
        ) from error

    def close() -> None:
        worker.shutdown(wait=True)
        with suppress(sqlite3.Error, StorageError):  # a last attempt at what could not be written before
            store.batch([])
        conn.close()

    return Persistence(url, saver, store, close)


def _connect(path: Path) -> sqlite3.Connection:
    conn = sqlite3.connect(path, check_same_thread=False, timeout=PATIENCE)
    patiently(lambda: conn.execute("PRAGMA journal_mode=WAL"))  # for which SQLite does not wait by itself
    conn.execute("PRAGMA synchronous=NORMAL")
    return conn
