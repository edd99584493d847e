"""What every access of the guarded saver goes through: the tables, transactions, and the check of a thread's head."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver

from runtime import verify
from runtime.books import TABLE, Seals
from runtime.history import about
from runtime.patience import PATIENCE, failed, is_busy, patiently
from runtime.rows import TABLES, Row, kept
from runtime.seal import Sealer
from state.errors import IntegrityError, StorageError

T = TypeVar("T")

VERSION = 2  # of the tables: 1, which was never released, did not seal the store


class Beside(Protocol):
    """What is written with every transaction of a saver: what a store put off until then."""

    def write_with(self, cursor: sqlite3.Cursor) -> None:
        """Add it to a transaction."""

    def settle(self, *, committed: bool) -> None:
        """Learn what became of the transaction."""


class Guarded(SqliteSaver):
    """The stock saver's connection, on which nothing is written by halves and no thread is read that was changed."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        worker: ThreadPoolExecutor,
        *,
        serde: SerializerProtocol,
        key: bytes,
        beside: Beside | None = None,
        lock: Any = None,
    ) -> None:
        super().__init__(conn, serde=serde)
        self._worker, self._beside, self.sealer = worker, beside, Sealer(key)
        self._seen: dict[str, tuple[int, int]] = {}  # threads found whole: at which sequence and version of the file
        if lock is not None:
            self.lock = lock

    def setup(self) -> None:
        """Make the tables, or bring older ones up to date.

        What was saved before there were seals is sealed as it stands, once. Raises StorageError for tables
        of a newer Motet, and IntegrityError where seals are there already.
        """
        if self.is_setup:
            return
        super().setup()
        if self._version() == VERSION:
            return
        self.is_setup = False
        cursor = self.conn.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            self._upgrade(cursor, self._version())
            self.conn.commit()
        except BaseException:
            self.conn.rollback()
            raise
        self.is_setup = True

    def _version(self) -> int:
        return int(self.conn.execute("PRAGMA user_version").fetchone()[0])

    def _upgrade(self, cursor: sqlite3.Cursor, version: int) -> None:
        if version > VERSION:
            raise StorageError(
                f"the database was written by a newer Motet (its tables have version {version}, this one knows "
                f"{VERSION}): install that one, or name another database"
            )
        if version == VERSION:  # by another process, just now
            return
        made = {name for (name,) in cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "books" in made or (version < 1 and "heads" in made):
            raise IntegrityError("the version of the database's tables was changed: put it back from a copy")
        if version < 2:
            cursor.execute("DROP TABLE IF EXISTS heads")
            cursor.execute("DROP TABLE IF EXISTS steps")
            for table in TABLES.strip().split(";")[:-1]:
                cursor.execute(table)
            verify.seal(cursor, self.sealer, self._about)
            cursor.execute(TABLE)
            if "store" in made:
                Seals(self.sealer).adopt(cursor)
        cursor.execute(f"PRAGMA user_version = {VERSION}")

    def _about(self, row: Row) -> str:
        """What a history shows of a step that was saved without it; nothing where it cannot be read any more."""
        try:
            return about(self.serde.loads_typed((row.type, row.checkpoint)), json.loads(row.metadata))
        except Exception:  # whatever somebody else's serializer wrote
            return "{}"

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """A cursor in a transaction that is committed whole or not at all; or one that reads a single snapshot.

        Raises StorageError for what SQLite raises; only that another process writes is left to callers.
        """
        cursor = self._begun("BEGIN IMMEDIATE" if transaction else "BEGIN")
        try:
            yield cursor
            if transaction and self._beside:
                self._beside.write_with(cursor)
            self.conn.commit()
        except BaseException as error:
            with suppress(sqlite3.Error):
                self.conn.rollback()
            if transaction and self._beside:
                self._beside.settle(committed=False)
            if isinstance(error, sqlite3.Error) and not is_busy(error):
                raise failed(error, self.conn) from error
            raise
        else:
            if transaction and self._beside:
                self._beside.settle(committed=True)
        finally:
            cursor.close()
            self.lock.release()

    def _begun(self, begin: str) -> sqlite3.Cursor:
        """A cursor, with the lock held and a transaction begun. Another writer is waited for without the lock."""
        end = time.monotonic() + PATIENCE
        while True:
            self.lock.acquire()
            try:
                self.setup()
                cursor = self.conn.cursor()
                cursor.execute(begin)
                return cursor
            except BaseException as error:
                self.lock.release()
                if not isinstance(error, sqlite3.Error):
                    raise
                if not is_busy(error) or time.monotonic() > end:
                    raise failed(error, self.conn) from error
            time.sleep(0.002)

    @contextmanager
    def reading(self, thread: str = "") -> Iterator[sqlite3.Cursor]:
        """A cursor on a snapshot in which a thread is whole. Raises IntegrityError, also where something is no text."""
        try:
            with self.cursor(transaction=False) as cursor:
                if thread:
                    self._whole(cursor, thread)
                yield cursor
        except StorageError as error:
            if thread and isinstance(error.__cause__, sqlite3.OperationalError) and "decode" in str(error):
                raise IntegrityError(self.faults(thread)[0]) from error
            raise

    def faults(self, thread: str) -> list[str]:
        """Everything that is wrong with a thread, each with its step."""
        with self.cursor(transaction=False) as cursor:
            return verify.faults(cursor, self.sealer, thread)

    def _whole(self, cursor: sqlite3.Cursor, thread: str) -> None:
        """See that no row of a thread was taken away or put in, unless that was seen and no other process wrote since.

        Raises IntegrityError.
        """
        found = kept(cursor, thread)
        if found is None:
            verify.unknown(cursor, thread)
            return
        now = found.head.sequence, int(cursor.execute("PRAGMA data_version").fetchone()[0])
        if self._seen.get(thread) != now:
            if not verify.adds_up(cursor, self.sealer, thread, found):
                raise IntegrityError(verify.first(cursor, self.sealer, thread))
            self._seen[thread] = now

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._surely, work)

    def _surely(self, work: Callable[[], T]) -> T:
        """Wait for other writers; raises StorageError when they do not end. For the database's own thread."""
        try:
            return patiently(work)
        except sqlite3.OperationalError as error:
            raise failed(error, self.conn) from error
