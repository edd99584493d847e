"""What becomes of an error of SQLite: another writer is waited for, everything else is said in one line.

It is waited outside SQLite, where it would hang whoever waits with us.
"""

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from state.errors import StorageError

T = TypeVar("T")

PATIENCE = 30.0  # seconds to wait for another writer


def patiently(work: Callable[[], T]) -> T:
    """Do the work, again and again while another process is writing; for the database's own thread."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > end:
                raise
            time.sleep(0.002)


def is_busy(error: BaseException) -> bool:
    """Whether another process is writing just now."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def failed(error: BaseException, conn: sqlite3.Connection) -> StorageError:
    """What is said of an error of the database, with its path and the mend."""
    try:
        path = conn.execute("PRAGMA database_list").fetchone()[2]
    except sqlite3.Error:  # not even that
        path = ""
    if _code(error) in DAMAGED:
        return StorageError(f"the database {path} is damaged: {error}; put it back from a copy")
    mend = MENDS.get(_code(error), "mend the cause")
    return StorageError(f"the database {path} stopped working: {error}. What was saved stands: {mend}, then resume")


DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
MENDS = {
    sqlite3.SQLITE_FULL: "make room",
    sqlite3.SQLITE_IOERR: "look at the disk and the room on it",
    sqlite3.SQLITE_READONLY: "let it be written to",
    sqlite3.SQLITE_CANTOPEN: "let its folder be written to",
    sqlite3.SQLITE_BUSY: "let the other process that writes to it end",
}


def _code(error: BaseException) -> int:
    """SQLite's own code; 0 of what Python's module itself raises."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
