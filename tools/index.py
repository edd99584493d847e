"""The full-text index of a folder: one SQLite database, made from the files and good for nothing else.

    files     one row for each file that was read: its stamp, its digest, why it holds nothing, who may see it
    passages  its passages, in order
    words     FTS5 over heading, text and file name of each passage

It is a cache: where it is damaged or from another version it is made anew. Several processes may read
and write it at once (WAL, short transactions). Only its owner may open it (mode 600).
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from state.context import User
from state.errors import StorageError
from tools.passages import Passage, Piece

VERSION = 1  # of the tables and of the readers: raise it when the same file would give other passages
BUSY_SECONDS = 60
COUNTED = 20_000  # passages with one word; more are not counted
HEADING, TEXT, FILE = 2.0, 1.0, 0.5  # what a word is worth where it stands, before BM25's saturation

SCHEMA = (
    """CREATE TABLE files(id INTEGER PRIMARY KEY, file TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, digest BLOB NOT NULL, reason TEXT NOT NULL, access TEXT)""",
    """CREATE TABLE passages(id INTEGER PRIMARY KEY, file_id INTEGER NOT NULL, position INTEGER NOT NULL,
    unit INTEGER NOT NULL, section TEXT NOT NULL, file TEXT NOT NULL, heading TEXT NOT NULL, text TEXT NOT NULL,
    UNIQUE(file_id, position))""",
    "CREATE INDEX sections ON passages(file_id, section)",
    """CREATE VIRTUAL TABLE words USING fts5(heading, text, file, content='passages', content_rowid='id',
    tokenize='porter unicode61 remove_diacritics 2')""",
    """CREATE TRIGGER added AFTER INSERT ON passages BEGIN
    INSERT INTO words(rowid, heading, text, file) VALUES (new.id, new.heading, new.text, new.file); END""",
    """CREATE TRIGGER removed AFTER DELETE ON passages BEGIN
    INSERT INTO words(words, rowid, heading, text, file)
    VALUES ('delete', old.id, old.heading, old.text, old.file); END""",
)

# The files a user may see. Everything that leaves the index is selected through it.
VISIBLE = """
WITH visible AS MATERIALIZED (
  SELECT id, file FROM files WHERE access IS NULL OR NOT EXISTS (
    SELECT 1 FROM json_each(files.access) AS rule WHERE NOT EXISTS (
      SELECT 1 FROM json_each(rule.value) AS grp WHERE grp.value IN (SELECT value FROM json_each(:groups)))))
"""
COLUMNS = "p.file, p.section, p.text, p.heading, p.position"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index knows of a file: `reason` says why it has no passages, if it has none."""

    file: str
    size: int
    mtime_ns: int
    digest: bytes
    reason: str = ""


class Index:
    """The database at a path; opened at first use. Safe from any thread. Raises StorageError where it cannot serve."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()

    def entries(self) -> dict[str, Entry]:
        """What is known of each file."""
        with self._connection() as connection:
            rows = connection.execute("SELECT file, size, mtime_ns, digest, reason FROM files")
            return {row[0]: Entry(*row) for row in rows}

    def restamp(self, entries: Iterable[Entry]) -> None:
        """Keeps the new size and time of files whose content is the same."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE files SET size = ?, mtime_ns = ? WHERE file = ? AND digest = ?",
                [(entry.size, entry.mtime_ns, entry.file, entry.digest) for entry in entries],
            )

    def replace(self, batch: Iterable[tuple[Entry, Sequence[Piece]]], access: Mapping[str, list[list[str]]]) -> None:
        """Puts the files' passages in place of what they had; each file is never without the rules of its access."""
        with self._transaction() as connection:
            for entry, pieces in batch:
                _remove(connection, entry.file)
                file_id = connection.execute(
                    "INSERT INTO files(file, size, mtime_ns, digest, reason, access) VALUES (?, ?, ?, ?, ?, ?)",
                    (entry.file, entry.size, entry.mtime_ns, entry.digest, entry.reason, _access(access[entry.file])),
                ).lastrowid
                connection.executemany(
                    "INSERT INTO passages(file_id, position, unit, section, file, heading, text)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        (file_id, position, piece.unit, piece.section, entry.file, piece.heading, piece.text)
                        for position, piece in enumerate(pieces)
                    ),
                )

    def remove(self, files: Iterable[str]) -> None:
        """Forgets the files."""
        with self._transaction() as connection:
            for file in files:
                _remove(connection, file)

    def grant(self, access: Mapping[str, list[list[str]]]) -> None:
        """Sets who may see each file: for every rule, the groups it lets in; no rule, everybody."""
        wanted = {file: _access(rules) for file, rules in access.items()}
        with self._connection() as connection:
            changed = [
                (wanted[file], file)
                for file, now in connection.execute("SELECT file, access FROM files").fetchall()
                if file in wanted and wanted[file] != now
            ]
        if changed:
            with self._transaction() as connection:
                connection.executemany("UPDATE files SET access = ? WHERE file = ?", changed)

    def search(self, expression: str, *, limit: int, user: User) -> list[Passage]:
        """The best passages for an FTS5 expression, best first; equals in the order of files and positions."""
        found = f"""{VISIBLE}
            SELECT {COLUMNS}, -found.score FROM (
              SELECT words.rowid AS id, bm25(words, {HEADING}, {TEXT}, {FILE}) AS score
              FROM words WHERE words MATCH :expression AND (
                NOT EXISTS (SELECT 1 FROM files WHERE access IS NOT NULL)
                OR (SELECT file_id FROM passages WHERE id = words.rowid) IN (SELECT id FROM visible))
              ORDER BY score LIMIT :limit) AS found
            JOIN passages AS p ON p.id = found.id ORDER BY found.score, p.file, p.position"""
        return self._passages(found, user, expression=expression, limit=limit)

    def occurrences(self, words: Iterable[str], *, user: User) -> tuple[dict[str, int], int]:
        """In how many of the passages the user may see each word stands (at most `COUNTED`), and how many these are."""
        seen = """(NOT EXISTS (SELECT 1 FROM files WHERE access IS NOT NULL) OR file_id IN (SELECT id FROM visible))"""
        count = f"""{VISIBLE} SELECT count(*) FROM (SELECT 1 FROM words JOIN passages AS p ON p.id = words.rowid
            WHERE words MATCH :expression AND {seen} LIMIT {COUNTED})"""
        groups = {"groups": json.dumps(user.groups)}
        with self._connection() as connection:
            found = {w: connection.execute(count, {**groups, "expression": f'"{w}"'}).fetchone()[0] for w in words}
            every = connection.execute(f"{VISIBLE} SELECT count(*) FROM passages WHERE {seen}", groups).fetchone()[0]
        return found, every

    def section(self, file: str, section: str, *, user: User) -> list[Passage]:
        """The passage of that name, with the parts that its section was cut into, in order."""
        one = f"""{VISIBLE} SELECT {COLUMNS} FROM visible JOIN passages AS p ON p.file_id = visible.id
            WHERE visible.file = :file AND p.unit = (
              SELECT unit FROM passages WHERE file_id = visible.id AND section = :section)
            ORDER BY p.position"""
        return self._passages(one, user, file=file, section=section)

    def span(self, file: str, first: int, last: int, *, user: User) -> list[Passage]:
        """A file's passages from one position to another, both included."""
        span = f"""{VISIBLE} SELECT {COLUMNS} FROM visible JOIN passages AS p ON p.file_id = visible.id
            WHERE visible.file = :file AND p.position BETWEEN :first AND :last ORDER BY p.position"""
        return self._passages(span, user, file=file, first=first, last=last)

    def files(self, *, user: User) -> list[str]:
        """The files that hold passages, sorted."""
        with self._connection() as connection:
            rows = connection.execute(
                f"{VISIBLE} SELECT file FROM visible WHERE id IN (SELECT file_id FROM passages) ORDER BY file",
                {"groups": json.dumps(user.groups)},
            )
            return [file for (file,) in rows]

    def close(self) -> None:
        """Closes the connections that are not in use."""
        with suppress(Empty):
            while True:
                self._idle.get_nowait().close()

    def _passages(self, sql: str, user: User, **values: str | int) -> list[Passage]:
        # Half a surrogate pair, which JSON can carry in, is no character that a name here could hold.
        storable = {
            name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
            for name, value in values.items()
        }
        with self._connection() as connection:
            rows = connection.execute(sql, {"groups": json.dumps(user.groups), **storable})
            return [Passage(*row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")  # waits for its turn here, not in the middle
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one caller at a time; they are kept, since opening one costs as much as a search."""
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = _opened(self._database)
        try:
            yield connection
        except sqlite3.Error as error:
            connection.close()
            raise StorageError(f"the index {self._database}: {error}; remove the file to have it made anew") from error
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)


def _opened(database: Path) -> sqlite3.Connection:
    try:
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return _connected(database)
        except sqlite3.OperationalError:
            raise  # locked, full, no FTS5: making it anew would not help
        except sqlite3.DatabaseError:
            for name in files_of(database):
                name.unlink(missing_ok=True)
            return _connected(database)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"cannot open the index {database}: {error}; check the disk, or set MOTET_HOME to a folder you may write"
        ) from error


def _connected(database: Path) -> sqlite3.Connection:
    os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database.chmod(0o600)
    connection = sqlite3.connect(database, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            _made(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _made(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:  # another process may have been first
        for table in ("words", "passages", "files"):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _remove(connection: sqlite3.Connection, file: str) -> None:
    connection.execute("DELETE FROM passages WHERE file_id = (SELECT id FROM files WHERE file = ?)", (file,))
    connection.execute("DELETE FROM files WHERE file = ?", (file,))


def _access(rules: list[list[str]]) -> str | None:
    return json.dumps(rules) if rules else None


def files_of(database: Path) -> set[Path]:
    """The files that SQLite keeps for a database."""
    return {database, *(database.with_name(database.name + end) for end in ("-wal", "-shm", "-journal"))}
