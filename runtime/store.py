"""The store beside the threads: the record book, the cache of answers, what agents remember."""

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from weakref import WeakKeyDictionary

import orjson
from langgraph.store.base import GetOp, Op, PutOp, Result
from langgraph.store.sqlite import SqliteStore

from runtime.patience import is_busy, patiently

# what SqliteStore makes of a put, without what it allows for: deletions, vectors, expiry
INSERT = """INSERT OR REPLACE INTO store (prefix, key, value, created_at, updated_at, expires_at, ttl_minutes)
VALUES (?, ?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, NULL, NULL)"""
Row = tuple[str, str, bytes]
Waiting = tuple[list[Op], "asyncio.Future[list[Result]]"]

MOMENT = 0.002  # seconds that a record may wait for company
FEW = 8  # operations that are done where they stand


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
            if not is_busy(error):
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
                if not is_busy(error):
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
