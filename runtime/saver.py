"""The guarded saver: LangGraph's SQLite saver, with every row sealed and every thread held by one writer.

What is read is held against its seal (IntegrityError); what is written changes rows and sums in one
transaction, and only for whoever holds the thread (ThreadError).
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite._delta import build_delta_channels_writes_history
from langgraph.checkpoint.sqlite.utils import load_pending_writes, search_where

from runtime import lease, prune, verify
from runtime.lease import FREE, Lease
from runtime.patience import patiently
from runtime.rows import (
    HERE,
    HOLD,
    NEWEST,
    NOBODY,
    ROW,
    TABLES,
    Change,
    Kept,
    Known,
    Place,
    Row,
    Write,
    about,
    kept,
    new_head,
)
from runtime.seal import Sealer, stored
from state.errors import InputError, IntegrityError, StorageError, ThreadError

T = TypeVar("T")

VERSION = 1  # of the tables
STRATEGIES = ("keep_latest", "delete")
LINEAR = ("loop", "input")  # what a run itself puts: only behind the newest step


@dataclass(slots=True)
class Hold:
    """A thread that is held here: the lease, and what was last written under it."""

    lease: Lease
    stands: Kept | None = None
    known: Known = field(default_factory=dict)


class Saver(SqliteSaver):
    """One object for sync and async callers; its async methods run on the database's own thread.

    `beside` is written with every transaction of this saver: what a store put off until then.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        worker: ThreadPoolExecutor,
        *,
        serde: SerializerProtocol,
        key: bytes,
        beside: Callable[[sqlite3.Cursor], None] = lambda cursor: None,
        lock: Any = None,
    ) -> None:
        super().__init__(conn, serde=serde)
        self._worker, self._beside = worker, beside
        self.sealer, self.seconds = Sealer(key), lease.SECONDS
        self._holds: dict[str, Hold] = {}
        self._seen: dict[str, int] = {}  # threads that were found whole, and at which sequence
        if lock is not None:
            self.lock = lock

    def setup(self) -> None:
        """Make the tables, or bring older ones up to date. Raises StorageError for those of a newer Motet."""
        if self.is_setup:
            return
        version = self.conn.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StorageError(
                f"the database was written by a newer Motet (its tables have version {version}, this one knows "
                f"{VERSION}): install that one, or name another database"
            )
        super().setup()
        if version < VERSION:
            self.conn.executescript(TABLES)
            self.conn.execute("BEGIN IMMEDIATE")
            verify.seal(self.conn.cursor(), self.sealer)
            self.conn.execute(f"PRAGMA user_version = {VERSION}")
            self.conn.commit()

    # Transactions and leases

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """A cursor in a transaction that is committed whole or not at all; or one that reads a single snapshot."""
        with self.lock:
            self.setup()
            cursor = self.conn.cursor()
            try:
                cursor.execute("BEGIN IMMEDIATE" if transaction else "BEGIN")
                yield cursor
                if transaction:
                    self._beside(cursor)
                self.conn.commit()
            except BaseException:
                self.conn.rollback()
                raise
            finally:
                cursor.close()

    @contextmanager
    def changing(self, thread: str) -> Iterator[Change]:
        """Change a thread. Raises ThreadError when somebody else holds it, or took it over."""
        hold = self._holds.get(thread) or Hold(FREE)
        try:
            with self.cursor() as cursor:
                stands = hold.stands or kept(cursor, thread) or NOBODY
                change = Change(cursor, self.sealer, thread, stands, hold.known)
                if hold.lease.holder:
                    change.lease = lease.renewed(stands.lease, hold.lease, thread, self.seconds)
                elif stands.lease.held:
                    raise lease.busy(thread)
                yield change
                hold.stands = change.close()
        except BaseException:
            hold.stands, hold.known = None, {}  # nothing of it was written
            raise
        if self._seen.get(thread, 0) == stands.head.sequence:
            self._seen[thread] = hold.stands.head.sequence

    @asynccontextmanager
    async def hold(self, thread: str) -> AsyncIterator[None]:
        """Be the only writer of a thread, in whatever process. Raises ThreadError while somebody else is."""
        mine = await self._do(lambda: self._take(thread))
        self._holds[thread] = Hold(mine)
        renewing = asyncio.create_task(self._renew(thread))
        try:
            yield
        finally:
            renewing.cancel()
            del self._holds[thread]
            with suppress(ThreadError, sqlite3.Error):  # somebody took it over, or it lapses by itself
                await asyncio.shield(self._do(lambda: self._lease(thread, mine, Lease(mine.epoch, "", 0.0))))

    def held(self, thread: str) -> bool:
        """Whether somebody works on a thread right now."""
        with self.cursor(transaction=False) as cursor:
            found = kept(cursor, thread)
        return found is not None and found.lease.held

    def _take(self, thread: str) -> Lease:
        with self.cursor() as cursor:
            found = kept(cursor, thread)
            mine = lease.taken(found.lease if found else FREE, lease.holder(), thread, self.seconds)
            if found:
                cursor.execute(HOLD, (*mine, thread))
            else:
                verify.unknown(cursor, thread)
                new_head(cursor, self.sealer, thread, mine)
        return mine

    async def _renew(self, thread: str) -> None:
        """Renew a lease for as long as its holder is at work."""
        while True:
            await asyncio.sleep(self.seconds / 3)
            mine = self._holds[thread].lease
            with suppress(sqlite3.Error, ThreadError):  # the next write says so
                await self._do(partial(self._lease, thread, mine, mine._replace(expires=time.time() + self.seconds)))

    def _lease(self, thread: str, mine: Lease, new: Lease) -> None:
        """Change my own lease."""
        with self.cursor() as cursor:
            found = kept(cursor, thread)
            lease.renewed(found.lease if found else FREE, mine, thread, self.seconds)
            cursor.execute(HOLD, (*new, thread))

    # Writing

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See `SqliteSaver.put`. Raises ThreadError for a step behind one that is no longer the newest."""
        thread, namespace, parent = _place(config)
        type_, blob = self.serde.dumps_typed(checkpoint)
        said = json.dumps(get_checkpoint_metadata(config, metadata), ensure_ascii=False).encode("utf-8", "ignore")
        row = Row(thread, namespace, checkpoint["id"], parent or None, type_, blob, said)
        with self.changing(thread) as change:
            linear = bool(parent) and metadata.get("source") in LINEAR
            if linear and _newest(change.cursor, thread, namespace) not in (parent, row.id):
                raise ThreadError(f"thread {thread!r} went on meanwhile: look at it, and give what is new to its head")
            change.put(row, about(checkpoint, metadata))
        return _at(row.place)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See `SqliteSaver.put_writes`."""
        place = _place(config)
        replaces = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        rows: list[Write] = [
            (task_id, channel, *self.serde.dumps_typed(value), task_path, WRITES_IDX_MAP.get(channel, n))
            for n, (channel, value) in enumerate(writes)
        ]
        with self.changing(place[0]) as change:
            change.put_writes(place, rows, replaces=replaces)

    def delete_thread(self, thread_id: str) -> None:
        """See `SqliteSaver.delete_thread`."""
        with self.changing(str(thread_id)) as change:
            change.clear()

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Drop all steps of some threads (`delete`), or all that the newest of each namespace does not need."""
        if strategy not in STRATEGIES:
            raise InputError(f"{strategy!r} is no way to prune: take {' or '.join(STRATEGIES)}")
        for thread in thread_ids:
            with self.changing(str(thread)) as change:
                if strategy == "delete":
                    change.clear()
                else:
                    prune.keep_latest(change, self.serde)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy every step of a thread, and all that is pending there."""
        with self.changing(str(target_thread_id)) as change:
            self._whole(change.cursor, str(source_thread_id))
            prune.copy(str(source_thread_id), change, self.sealer)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Drop the steps that some runs left, but for those that steps of other runs need."""
        with self.cursor(transaction=False) as cursor:
            threads = prune.threads_of(cursor, run_ids)
        for thread in threads:
            with self.changing(thread) as change:
                prune.remove_runs(change, run_ids, self.serde)

    # Reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `SqliteSaver.get_tuple`. Raises IntegrityError for what was changed since it was saved."""
        thread, namespace, id_ = _place(config)
        with self.cursor(transaction=False) as cursor:
            self._whole(cursor, thread)
            at = id_ or _newest(cursor, thread, namespace)
            found = cursor.execute(f"{ROW} WHERE {HERE}", (thread, namespace, at)).fetchone()
            if found is None:
                return None
            row = Row(*found)
            writes = verify.writes(cursor, self.sealer, row)
        loaded = self._tuple(row, writes)
        return loaded._replace(config=config) if id_ else loaded

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """See `SqliteSaver.list`. It holds no lock while it yields."""
        where, values = search_where(config, filter, before)
        query = f"{ROW} {where} ORDER BY checkpoint_id DESC" + (" LIMIT ?" if limit is not None else "")
        with self.cursor(transaction=False) as cursor:
            rows = [Row(*r) for r in cursor.execute(query, (*values, *([] if limit is None else [limit]))).fetchall()]
            for thread in dict.fromkeys(row.thread for row in rows):
                self._whole(cursor, thread)
            found = [(row, verify.writes(cursor, self.sealer, row)) for row in rows]
        return (self._tuple(row, writes) for row, writes in found)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """See `SqliteSaver.get_delta_channel_history`: what channels hold is in the writes of earlier steps."""
        left, seeds, rows = set(channels), dict[str, Any](), list[Any]()
        chains: dict[str, list[str]] = {name: [] for name in channels}
        with self.cursor(transaction=False) as cursor:
            for row in ancestors(cursor, config):
                writes = verify.writes(cursor, self.sealer, row)
                rows += [(row.id, w[1], w[0], w[5], w[2], w[3], w[4]) for w in writes if w[1] in left]
                values = self.serde.loads_typed((row.type, row.checkpoint)).get("channel_values") or {}
                for name in left:
                    chains[name].append(row.id)
                seeds |= {name: values[name] for name in left & values.keys()}
                left -= values.keys()
                if not left:
                    break
        return build_delta_channels_writes_history(
            channels=channels,
            chain_by_ch=chains,
            seed_val_by_ch=seeds,
            seeded=set(seeds),
            stage2_rows=rows,
            serde=self.serde,
        )

    def _whole(self, cursor: sqlite3.Cursor, thread: str) -> None:
        """See that no row of a thread was taken away or put in, unless that was seen at this very sequence."""
        found = kept(cursor, thread)
        if found is None:
            verify.unknown(cursor, thread)
        elif self._seen.get(thread) != found.head.sequence:
            if not verify.adds_up(cursor, self.sealer, thread, found):
                raise IntegrityError(verify.first(cursor, self.sealer, thread))
            self._seen[thread] = found.head.sequence

    def _tuple(self, row: Row, writes: Sequence[Write]) -> CheckpointTuple:
        return CheckpointTuple(
            _at(row.place),
            self.serde.loads_typed((row.type, row.checkpoint)),
            json.loads(row.metadata) if row.metadata is not None else {},
            _at((row.thread, row.namespace, row.parent)) if row.parent else None,
            load_pending_writes(writes, self.serde),
        )

    # The same for async callers

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

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await self._do(lambda: self.prune(thread_ids, strategy=strategy))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self._do(lambda: self.copy_thread(source_thread_id, target_thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await self._do(lambda: self.delete_for_runs(run_ids))

    async def aget_delta_channel_history(self, **kwargs: Any) -> Any:
        return await self._do(lambda: self.get_delta_channel_history(**kwargs))

    async def alist(self, config: RunnableConfig | None, **kwargs: Any) -> AsyncIterator[CheckpointTuple]:
        for found in await self._do(lambda: [*self.list(config, **kwargs)]):
            yield found


def ancestors(cursor: sqlite3.Cursor, config: RunnableConfig) -> Iterator[Row]:
    """The steps that led to one, the nearest first."""
    thread, namespace, id_ = _place(config)
    at: str | None = id_ or _newest(cursor, thread, namespace)
    walked: set[str] = set()
    parent = cursor.execute(
        f"SELECT parent_checkpoint_id FROM checkpoints WHERE {HERE}", (thread, namespace, at)
    ).fetchone()
    at = parent[0] if parent else None
    while at and at not in walked:
        walked.add(at)
        found = cursor.execute(f"{ROW} WHERE {HERE}", (thread, namespace, at)).fetchone()
        if found is None:
            return
        yield Row(*found)
        at = found[3]


def _newest(cursor: sqlite3.Cursor, thread: str, namespace: str) -> str:
    """The newest step. Writes may come before the checkpoint that they belong to: that is none yet."""
    found = cursor.execute(NEWEST, (thread, namespace, stored(0))).fetchone()
    return found[0] if found else ""


def _place(config: RunnableConfig) -> Place:
    given = config["configurable"]
    return str(given["thread_id"]), given.get("checkpoint_ns") or "", get_checkpoint_id(config) or ""


def _at(place: Place) -> RunnableConfig:
    thread, namespace, id_ = place
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": id_}}


def _freed(now: Lease, mine: Lease, thread: str) -> Lease:
    lease.renewed(now, mine, thread, 0)
    return Lease(now.epoch, "", 0.0)
