"""The store beside the threads: the record book, the cache of answers, what agents remember."""

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import orjson
from langgraph.store.base import GetOp, Op, PutOp, Result, SearchOp
from langgraph.store.sqlite import SqliteStore

from runtime.books import BOOKS, SEAL, Seals
from runtime.lease import overtaken
from runtime.patience import failed, is_busy, patiently
from runtime.rows import Hold, still_held
from runtime.seal import Sealer
from runtime.verify import any_text
from state.errors import IntegrityError, OvertakenError

# what SqliteStore makes of a put, without what it allows for: deletions, vectors, expiry
INSERT = """INSERT OR REPLACE INTO store (prefix, key, value, created_at, updated_at, expires_at, ttl_minutes)
VALUES (?, ?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, NULL, NULL)"""
Waiting = tuple[list[Op], "asyncio.Future[list[Result]]"]

MOMENT = 0.005  # seconds that a record may wait for company
AGAIN = 10  # times to look whether another process has made the tables
FEW = 8  # operations that are done where they stand


class Row(NamedTuple):
    """A value on its way, with its seal in it; what belongs to a thread is written only while that is held so."""

    prefix: str
    key: str
    text: bytes
    digest: int
    hold: Hold | None


class Store(SqliteStore):
    """SqliteStore with async methods and sealed values. What is asked for in the same moment is committed together.

    A few reads and writes that meet no other writer are done where they stand: some 40 µs, less than
    a thread costs. Everything else goes to the database's own thread. `holds` are the threads that are
    held here, by their label in namespaces.
    """

    def __init__(
        self, conn: sqlite3.Connection, worker: ThreadPoolExecutor, sealer: Sealer, holds: Mapping[str, Hold]
    ) -> None:
        super().__init__(conn)
        self._worker, self._holds, self.seals = worker, holds, Seals(sealer)
        self._waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Waiting]] = WeakKeyDictionary()
        self._later: list[Row] = []
        self._taken, self._counted = 0, list[str]()  # what the transaction at work has of these
        self._since, self._watched = 0.0, False

    def setup(self) -> None:
        """Make the tables. The stock one fails where another process makes them at the same time: then look again."""
        for left in reversed(range(AGAIN)):
            try:
                return super().setup()
            except (sqlite3.IntegrityError, sqlite3.OperationalError):
                self.conn.rollback()
                if not left:
                    raise
                time.sleep(0.02)

    def put_now(self, op: PutOp) -> bool:
        """Write where it stands, if no other writer is met; says whether it is done."""
        row = self._row(op)
        if not self.lock.acquire(blocking=False):
            return False
        try:
            with self._committed():
                cursor = self.conn.cursor()
                cursor.execute("BEGIN IMMEDIATE")
                self.write_with(cursor, row)
        except sqlite3.OperationalError:  # another writer
            return False
        finally:
            self.lock.release()
        return True

    def put_later(self, op: PutOp) -> None:
        """Write together with whatever is written next, and at the latest in a moment.

        What a node's last call brought is so committed with what the node returns: both or neither.
        """
        row = self._row(op)  # what cannot be written is the error of whoever brings it, not of those who write next
        loop = asyncio.get_running_loop()
        if not self._later:
            self._since = loop.time()
        self._later.append(row)
        if not self._watched:
            self._watched = True
            loop.call_later(MOMENT, self._write_later, loop)

    def write_with(self, cursor: sqlite3.Cursor, *more: Row) -> None:
        """Add what was put off, and more, to a transaction; `settle` says what became of it.

        Raises OvertakenError and IntegrityError for what somebody waits for, and may not be written. What
        was put off then is dropped: whoever brought it hears of it at their next write.
        """
        put_off = self._later[self._taken :]
        if not put_off and not more:
            return
        self._taken += len(put_off)
        rows = [row for row in put_off if self._may(cursor, row)]
        self._refuse_overtaken(cursor, more)
        books: dict[str, dict[str, int]] = {}
        for row in (*rows, *more):
            if row.prefix.startswith(BOOKS):
                books.setdefault(row.prefix, {})[row.key] = row.digest
        for prefix, new in books.items():
            self._counted.append(prefix)
            try:
                self.seals.count(cursor, prefix, new)
            except IntegrityError:
                if any(row.prefix == prefix for row in more):
                    raise
                rows = [row for row in rows if row.prefix != prefix]
        cursor.executemany(INSERT, [row[:3] for row in (*rows, *more)])

    def settle(self, *, committed: bool) -> None:
        """What became of the transaction: only what is committed is no longer to be written."""
        if committed:
            del self._later[: self._taken]
        else:
            self.seals.forget(*self._counted)
        self._taken, self._counted = 0, []

    async def records(self, namespace: tuple[str, ...]) -> list[dict[str, Any]]:
        """All of a book. Raises IntegrityError where it is not as it was saved."""

        def read() -> list[dict[str, Any]]:
            with self._cursor() as cursor:
                return self.seals.read(cursor, ".".join(namespace))[1]

        return await asyncio.get_running_loop().run_in_executor(self._worker, self._surely, read)

    def faults(self, begins: str = "") -> list[str]:
        """Everything that was changed under namespaces that begin so."""
        with self._cursor() as cursor, any_text(self.conn):
            return [*self.seals.faults(cursor, begins)]

    def _may(self, cursor: sqlite3.Cursor, row: Row) -> bool:
        return row.hold is None or row.hold.lease.expires > time.time() or still_held(cursor, row.hold)

    def _refuse_overtaken(self, cursor: sqlite3.Cursor, rows: Iterable[Row]) -> None:
        for row in rows:
            if row.hold is not None and not self._may(cursor, row):
                raise overtaken(row.hold.thread)

    def _row(self, op: PutOp) -> Row:
        prefix = ".".join(op.namespace)
        hold = self._holds.get(op.namespace[1]) if prefix.startswith(BOOKS) else None
        return Row(prefix, op.key, *self.seals.sealed(prefix, op.key, orjson.dumps(op.value)), hold)

    def _write_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing was written since: write what was put off. What was put off only now has its own moment."""
        left = self._since + MOMENT - loop.time()
        self._watched = bool(self._later) and left > 0
        if self._watched:
            loop.call_later(left, self._write_later, loop)
        elif self._later:
            self._worker.submit(patiently, lambda: self.batch([]))

    @contextmanager
    def _committed(self) -> Iterator[None]:
        """Commit what is written inside, or take it back. Raises StorageError; for another writer sqlite3's own."""
        try:
            yield
            self.conn.commit()
        except BaseException as error:
            with suppress(sqlite3.Error):
                self.conn.rollback()
            self.settle(committed=False)
            cause = error if isinstance(error, sqlite3.Error) else error.__cause__  # the stock store wraps some
            if isinstance(cause, sqlite3.Error):
                raise cause if is_busy(cause) else failed(cause, self.conn) from error
            raise
        self.settle(committed=True)

    @contextmanager
    def _cursor(self, *, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """The stock one commits what failed half-way."""
        if not self.is_setup:
            self.setup()
        with self.lock, self._committed():
            cursor = self.conn.cursor()
            if transaction:
                cursor.execute("BEGIN IMMEDIATE" if self._later else "BEGIN")
                self.write_with(cursor)
            yield cursor
            cursor.close()

    def _batch_put_ops(self, put_ops: Sequence[tuple[int, PutOp]], cur: sqlite3.Cursor) -> None:
        records, others = list[Row](), list[tuple[int, PutOp]]()
        for n, op in put_ops:
            row = None if op.value is None else self._row(op)
            if row is not None and row.prefix.startswith(BOOKS):
                records.append(row)
            else:
                value = None if row is None else {**(op.value or {}), SEAL: f"{row.digest:064x}"}
                others.append((n, op._replace(value=value)))
        if records:
            self.write_with(cur, *records)
            self._refuse_overtaken(cur, records)  # the first write is what keeps others from taking a thread over
        super()._batch_put_ops(others, cur)

    def _batch_get_ops(self, get_ops: Sequence[tuple[int, GetOp]], results: list[Result], cur: sqlite3.Cursor) -> None:
        super()._batch_get_ops(get_ops, results, cur)
        self._open(results[n] for n, _ in get_ops)

    def _batch_search_ops(
        self, search_ops: Sequence[tuple[int, SearchOp]], results: list[Result], cur: sqlite3.Cursor
    ) -> None:
        super()._batch_search_ops(search_ops, results, cur)
        for n, _ in search_ops:
            self._open(results[n])

    def _open(self, found: Any) -> None:
        """Take the seals off. Raises IntegrityError."""
        for item in found:
            if item is not None:
                self.seals.opened(".".join(item.namespace), item.key, item.value)

    def _surely(self, work: Any) -> Any:
        """Wait for other writers; raises StorageError when they do not end. For the database's own thread."""
        try:
            return patiently(work)
        except sqlite3.OperationalError as error:
            raise failed(error, self.conn) from error

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
            except (sqlite3.OperationalError, IntegrityError, OvertakenError):
                pass  # another writer, or one of several at fault: sorted out on the database's own thread
            except Exception as error:  # whoever waits gets it
                return _hand_out(group, error)
        self._worker.submit(self._commit, loop, group, ops)
        return None

    def _commit(self, loop: asyncio.AbstractEventLoop, group: list[Waiting], ops: list[Op]) -> None:
        """On the database's own thread. What its caller no longer waits for is written all the same."""
        try:
            found: list[Result] | Exception = self._surely(lambda: self.batch(ops))
        except (IntegrityError, OvertakenError) as error:
            found = error
            if len(group) > 1:  # the others are not at fault
                for waiting in group:
                    self._commit(loop, [waiting], waiting[0])
                return
        except Exception as error:  # whoever waits gets it
            found = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_hand_out, group, found)


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
