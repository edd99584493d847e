"""Text tables loaded into a database, where SQL can read them; loaded again when their files change."""

import hashlib
import io
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from state.errors import DocumentError
from tools import separated
from tools.columns import Column, Judge
from tools.folder import Found, opened
from tools.names import Unique, slug
from tools.readers import encoding_of

LARGEST = 512 * 2**20  # bytes of a text table; a larger one belongs in a database
MOST_COLUMNS = 1_000
BUSY_SECONDS = 120
HEAD = 1_000_000  # bytes by which an encoding is judged
SETTLED_NS = 2_000_000_000  # a file changed so recently may change again within the same tick of its clock
PREFIX = "motet_sheet"  # of every table in the cache
SCHEMA = """CREATE TABLE IF NOT EXISTS motet_sheets(file TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, name TEXT,
    columns TEXT, rows INTEGER, reason TEXT)"""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A loaded file: the name of its table in the cache, its columns, its rows."""

    name: str
    columns: tuple[Column, ...]
    rows: int


def cache_at(database: Path) -> sqlite3.Connection:
    """The cache of a folder's sheets, made if it is missing, for its owner only. Raises OSError and sqlite3.Error."""
    os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(database, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(SCHEMA)
    return connection


def sheet_of(connection: sqlite3.Connection, found: Found) -> Sheet:
    """The file's sheet, loaded unless the cache has it as it is. Raises DocumentError with the reason it has none."""
    select = "SELECT name, columns, rows, reason FROM motet_sheets WHERE file = ? AND size = ? AND mtime_ns = ?"
    stamp = (found.file, found.size, found.mtime_ns)
    row = connection.execute(select, stamp).fetchone()
    if row is None:
        connection.execute("BEGIN IMMEDIATE")  # a second process waits here, then finds it done
        try:
            row = connection.execute(select, stamp).fetchone() or _load(connection, found)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
    name, columns, rows, reason = row
    if reason:
        raise DocumentError(reason)
    return Sheet(name, tuple(Column(**column) for column in json.loads(columns)), rows)


def forget(connection: sqlite3.Connection, *, but: set[str]) -> None:
    """Drops the sheets of all other files."""
    rows = connection.execute("SELECT file, name FROM motet_sheets").fetchall()
    for file, name in rows:
        if file not in but:
            connection.execute(f'DROP TABLE IF EXISTS "{name}"')
            connection.execute("DELETE FROM motet_sheets WHERE file = ?", (file,))


def _load(connection: sqlite3.Connection, found: Found) -> tuple[str, str, int, str]:
    """Reads the file twice, line by line: once to judge its columns, once to store them."""
    name = f"{PREFIX}_{hashlib.blake2b(found.file.encode(), digest_size=16).hexdigest()}"
    recent = abs(time.time_ns() - found.mtime_ns) < SETTLED_NS
    connection.execute(f'DROP TABLE IF EXISTS "{name}"')
    columns: list[Column] = []
    rows, reason = 0, ""
    try:
        columns = _columns(found)
        declared = ", ".join(f'"{column.name}" {column.type}' for column in columns)
        connection.execute(f'CREATE TABLE "{name}" ({declared})')
        marks = ", ".join("?" * len(columns))
        rows = connection.executemany(f'INSERT INTO "{name}" VALUES ({marks})', _values(found, columns)).rowcount
    except DocumentError as error:
        reason = str(error)
        connection.execute(f'DROP TABLE IF EXISTS "{name}"')
    entry = (name, json.dumps([asdict(column) for column in columns]), max(rows, 0), reason)
    connection.execute(
        "INSERT OR REPLACE INTO motet_sheets VALUES (?, ?, ?, ?, ?, ?, ?)",
        (found.file, found.size, -1 if recent else found.mtime_ns, *entry),
    )
    return entry


def _columns(found: Found) -> list[Column]:
    source = _rows(found)
    header = next(source, [])
    judges: list[Judge] = []
    for row in chain([[""] * len(header)], source):
        judges += [Judge() for _ in range(len(judges), len(row))]
        if len(judges) > MOST_COLUMNS:
            raise DocumentError(f"more than {MOST_COLUMNS} columns")
        for judge, cell in zip(judges, row, strict=False):
            judge.see(cell)
    if not judges:
        raise DocumentError("empty")
    unique = Unique(separator="_")
    header += [""] * (len(judges) - len(header))
    names = [slug(name, separator="_") or f"column_{at}" for at, name in enumerate(header, start=1)]
    return [judge.column(unique(name)) for judge, name in zip(judges, names, strict=True)]


def _values(found: Found, columns: list[Column]) -> Iterator[list[int | float | str | None]]:
    source = _rows(found)
    next(source, None)
    for row in source:
        cells = row[: len(columns)] + [""] * (len(columns) - len(row))
        yield [column.value(cell.replace("\0", " ")) for column, cell in zip(columns, cells, strict=True)]


def _rows(found: Found) -> Iterator[list[str]]:
    if found.size > LARGEST:
        raise DocumentError(f"larger than {LARGEST // 2**20} MB; put it into an SQLite file")
    with opened(found) as stream:
        encoding = encoding_of(stream.read(HEAD))
        stream.seek(0)
        text = io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline="")
        yield from separated.rows(text, tabs=found.file.lower().endswith(".tsv"))
