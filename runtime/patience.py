"""Waiting for another process that writes: outside SQLite, where it would hang whoever waits with us."""

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

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


def is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether another process is writing just now."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
