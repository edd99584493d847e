"""Running one SELECT that somebody else wrote: it reads what it may, for as long as it may, and changes nothing.

Four locks, each enough for most harm: databases are opened read-only; SQLite asks an authorizer about
every table, column and function while it compiles the statement; a progress handler ends it at the
deadline; and values, rows and the whole result are bounded.
"""

import math
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LARGEST_VALUE = 1_000_000  # bytes of one string, blob or row, so that no function blows up the memory
LONGEST_SQL = 20_000  # characters
MOST_CHARACTERS = 60_000  # of a whole result
LONGEST_CELL = 2_000
STEPS = 2_000  # of SQLite's machine between two looks at the clock

FORBIDDEN_FUNCTIONS = {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "icu_load_collation"}
HARMLESS_TABLES = {"json_each", "json_tree"}  # functions that SQLite reads like tables

Readable = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Result:
    """Rows of a query; `truncated` says that there were more, or that a long value was cut."""

    columns: list[str]
    rows: list[list[Any]]
    truncated: bool


def confine(connection: sqlite3.Connection, *, readable: Readable, deadline: float) -> None:
    """From here on the connection reads only tables for which `readable(schema, table)`, until `deadline`.

    Both names are in lower case. The schema is empty where a statement counts the rows of something that
    it names without one: a table, a view, or a WITH clause of its own.
    `deadline` is a time of `time.monotonic`; past it a running statement raises sqlite3.OperationalError.
    """
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 4 * LONGEST_SQL)
    connection.execute("PRAGMA trusted_schema = OFF")  # a view in a file may not call what we could not
    connection.execute("PRAGMA query_only = ON")
    connection.set_progress_handler(lambda: int(time.monotonic() > deadline), STEPS)

    def authorize(action: int, first: str | None, second: str | None, schema: str | None, _inner: str | None) -> int:
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in FORBIDDEN_FUNCTIONS:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and first:
            table = first.lower()
            if table in HARMLESS_TABLES or (
                not table.startswith("sqlite_") and readable((schema or "").lower(), table)
            ):
                return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    connection.set_authorizer(authorize)


def select(connection: sqlite3.Connection, sql: str, *, limit: int) -> Result:
    """The first `limit` rows of one statement, on a confined connection.

    Raises sqlite3.Error, sqlite3.Warning or ValueError for what SQLite, the authorizer or the clock refuses.
    """
    cursor = connection.execute(sql)
    if cursor.description is None:
        raise ValueError("it holds no SELECT")
    columns = [name for name, *_ in cursor.description]
    rows: list[list[Any]] = []
    size, truncated = 0, False
    for row in cursor:
        if len(rows) == limit or size > MOST_CHARACTERS:
            truncated = True
            break
        shown = [plain(value) for value in row]
        truncated = truncated or any(isinstance(value, str) and len(value) > LONGEST_CELL for value in row)
        size += sum(len(str(value)) + 2 for value in shown)
        rows.append(shown)
    cursor.close()
    return Result(columns, rows, truncated)


def plain(value: Any) -> Any:
    """A value of SQLite as JSON can hold it."""
    match value:
        case bytes():
            return f"<{len(value)} bytes>"
        case float() if not math.isfinite(value):
            return str(value)
        case str() if len(value) > LONGEST_CELL:
            return value[:LONGEST_CELL] + " …"
    return value
