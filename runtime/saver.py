"""The guarded saver: LangGraph's SQLite saver, with every row sealed and every thread held by one writer.

What is read is held against its seal (IntegrityError); what is written changes rows and sums in one
transaction, and only for whoever holds the thread (ThreadError).
"""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

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
from langgraph.checkpoint.sqlite._delta import build_delta_channels_writes_history
from langgraph.checkpoint.sqlite.utils import load_pending_writes, search_where

from runtime import prune, verify
from runtime.held import Held
from runtime.history import QUERY, Shown, about, shown
from runtime.rows import (
    HERE,
    ROW,
    Change,
    Place,
    Row,
    Write,
    newest,
)
from runtime.seal import stored
from state.errors import InputError, IntegrityError, ThreadError

STRATEGIES = ("keep_latest", "delete")
Put = Callable[[Change], RunnableConfig]
LINEAR = ("loop", "input")  # what a run itself puts: only behind the newest step


class Saver(Held):
    """One object for sync and async callers; its async methods run on the database's own thread."""

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See `SqliteSaver.put`. Raises ThreadError for a step behind one that is no longer the newest."""
        thread, work = self._put(config, checkpoint, metadata)
        with self.changing(thread) as (change,):
            return work(change)

    def _put(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata) -> tuple[str, Put]:
        thread, namespace, parent = _place(config)
        type_, blob = self.serde.dumps_typed(checkpoint)
        said = json.dumps(get_checkpoint_metadata(config, metadata), ensure_ascii=False).encode("utf-8", "ignore")
        row = Row(thread, namespace, checkpoint["id"], parent or None, type_, blob, said)
        shows, linear = about(checkpoint, metadata), bool(parent) and metadata.get("source") in LINEAR

        def work(change: Change) -> RunnableConfig:
            if linear and change.newest(namespace) not in (parent, row.id):
                raise ThreadError(f"thread {thread!r} went on meanwhile: look at it, and give what is new to its head")
            change.put(row, shows)
            return _at(row.place)

        return thread, work

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See `SqliteSaver.put_writes`."""
        thread, work = self._put_writes(config, writes, task_id, task_path)
        with self.changing(thread) as (change,):
            work(change)

    def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> tuple[str, Callable[[Change], None]]:
        place = _place(config)
        replaces = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        rows: list[Write] = [
            (task_id, channel, *self.serde.dumps_typed(value), task_path, WRITES_IDX_MAP.get(channel, n))
            for n, (channel, value) in enumerate(writes)
        ]
        return place[0], lambda change: change.put_writes(place, rows, replaces=replaces)

    def delete_thread(self, thread_id: str) -> None:
        """See `SqliteSaver.delete_thread`."""
        with self.changing(str(thread_id), anew=True) as (change,):
            change.clear()

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Drop all steps of some threads (`delete`), or all that the newest of each namespace does not need."""
        if strategy not in STRATEGIES:
            raise InputError(f"{strategy!r} is no way to prune: take {' or '.join(STRATEGIES)}")
        for thread in thread_ids:
            if strategy == "delete":
                self.delete_thread(str(thread))
            else:
                with self._sound(str(thread)) as change:
                    prune.keep_latest(change, self.serde)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy every step of a thread, and all that is pending there."""
        with self.changing(str(target_thread_id)) as (change,):
            self._whole(change.cursor, str(source_thread_id))
            prune.copy(str(source_thread_id), change, self.sealer)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Drop the steps that some runs left, but for those that steps of other runs need."""
        with self.cursor(transaction=False) as cursor:
            threads = prune.threads_of(cursor, run_ids)
        for thread in threads:
            with self._sound(thread) as change:
                prune.remove_runs(change, run_ids, self.serde)

    def prune_turns(
        self, thread: str, keep: int, whole: Mapping[Place, Mapping[str, Any]] | None = None
    ) -> tuple[int, int]:
        """Drop the steps of all turns but the newest ones; how many went, and how many stay.

        `whole` says what transcripts hold at the steps of `edges`; without it what they are made of stays, too.
        """
        with self._sound(thread) as change:
            return prune.keep_turns(change, keep, self.serde, whole or {})

    def edges(self, thread: str, keep: int) -> Sequence[Place]:
        """The steps that `prune_turns` would leave without the one before them."""
        with self.reading(thread) as cursor:
            return prune.edges(cursor, thread, keep)

    @contextmanager
    def _sound(self, thread: str) -> Iterator[Change]:
        """Change a thread that is as it was saved, old steps included: nothing that was changed is sealed anew."""
        with self.changing(thread) as (change,):
            if found := verify.faults(change.cursor, self.sealer, thread):
                raise IntegrityError(found[0])
            yield change

    def history(self, thread: str, namespace: str = "", limit: int | None = None) -> Sequence[Shown]:
        """A thread's steps, newest first, as far as a list shows them: none of them is read. Raises IntegrityError."""
        with self.reading(thread) as cursor:
            query = QUERY + ("" if limit is None else f" LIMIT {limit:d}")
            found = cursor.execute(query, (thread, namespace, stored(0))).fetchall()
        return [shown(thread, namespace, id_, said) for id_, said in found]

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `SqliteSaver.get_tuple`. Raises IntegrityError for what was changed since it was saved."""
        thread, namespace, id_ = _place(config)
        with self.reading(thread) as cursor:
            at = id_ or newest(cursor, thread, namespace)
            found = cursor.execute(f"{ROW} WHERE {HERE}", (thread, namespace, at)).fetchone()
            if found is None:
                verify.missing(cursor, (thread, namespace, at))
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
        with self.reading(str(config["configurable"]["thread_id"]) if config else "") as cursor:
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
        with self.reading(_place(config)[0]) as cursor:
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

    def _tuple(self, row: Row, writes: Sequence[Write]) -> CheckpointTuple:
        return CheckpointTuple(
            _at(row.place),
            self.serde.loads_typed((row.type, row.checkpoint)),
            json.loads(row.metadata) if row.metadata is not None else {},
            _at((row.thread, row.namespace, row.parent)) if row.parent else None,
            load_pending_writes(writes, self.serde),
        )

    async def ahistory(self, thread: str, namespace: str = "", limit: int | None = None) -> Sequence[Shown]:
        return await self._do(lambda: self.history(thread, namespace, limit))

    async def aprune_turns(self, thread: str, keep: int, **how: Any) -> tuple[int, int]:
        return await self._do(lambda: self.prune_turns(thread, keep, **how))

    async def aedges(self, thread: str, keep: int) -> Sequence[Place]:
        return await self._do(lambda: self.edges(thread, keep))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._do(lambda: self.get_tuple(config))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._apply(*self._put(config, checkpoint, metadata))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._apply(*self._put_writes(config, writes, task_id, task_path))

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
    at: str | None = id_ or newest(cursor, thread, namespace)
    walked: set[str] = set()
    parent = cursor.execute(
        f"SELECT parent_checkpoint_id FROM checkpoints WHERE {HERE}", (thread, namespace, at)
    ).fetchone()
    at = parent[0] if parent else None
    while at and at not in walked:
        walked.add(at)
        found = cursor.execute(f"{ROW} WHERE {HERE}", (thread, namespace, at)).fetchone()
        if found is None:
            verify.missing(cursor, (thread, namespace, at))
            return  # it was pruned
        yield Row(*found)
        at = found[3]


def _place(config: RunnableConfig) -> Place:
    given = config["configurable"]
    return str(given["thread_id"]), given.get("checkpoint_ns") or "", get_checkpoint_id(config) or ""


def _at(place: Place) -> RunnableConfig:
    thread, namespace, id_ = place
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": id_}}
