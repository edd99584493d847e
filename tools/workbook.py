"""The tables of a folder as one database: its CSV and TSV files loaded, its SQLite files attached.

Loaded files are kept in a database below the house's own folder, one for each folder of documents, and
loaded again when they change. What a user may not see is not among the user's tables, and SQLite
refuses to read it.
"""

import hashlib
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from runtime.home import home
from state.context import User
from state.errors import DocumentError, StorageError
from tools import sandbox
from tools.access import rules_of
from tools.columns import Column, Type
from tools.folder import Found, Skipped, existing, opened, scan
from tools.names import Unique, slug
from tools.sheets import PREFIX, cache_at, forget, sheet_of

SHEETS, DATABASES = {".csv", ".tsv"}, {".db", ".db3", ".sqlite", ".sqlite3"}
MOST_ATTACHED = 8  # SQLite attaches ten at most
# Names that SQL reads as something else unless they are quoted, which a model may forget.
_KEYWORDS = """
all and as case check default drop exists from group in index is join limit main not null of on or order primary
references select set table temp then to transaction union unique update using values view when where with
"""
KEYWORDS = frozenset(_KEYWORDS.split())


@dataclass(frozen=True, slots=True)
class Table:
    """A table that a user may read: its name in SQL, the file it comes from, and what it is inside."""

    name: str
    file: str
    columns: tuple[Column, ...]
    rows: int | None
    stored: str = ""  # the name of a loaded sheet in the cache
    database: Path | None = None  # the SQLite file of any other


@dataclass(frozen=True, slots=True)
class Workbook:
    """What a user may query in a folder; `skipped` names each table file that cannot be used, and why."""

    cache: Path
    tables: tuple[Table, ...]
    skipped: tuple[Skipped, ...]

    @contextmanager
    def connected(self, sql: str, *, deadline: float) -> Iterator[sqlite3.Connection]:
        """A confined connection with the tables that the statement may mean. Raises sqlite3.Error."""
        with closing(sqlite3.connect(_uri(self.cache), uri=True, isolation_level=None)) as connection:
            attached = self._attached(sql)
            for table in self.tables:
                if table.stored:
                    connection.execute(f'CREATE TEMP VIEW "{table.name}" AS SELECT * FROM main."{table.stored}"')
            for schema, path in attached.items():
                connection.execute(f'ATTACH ? AS "{schema}"', (_uri(path),))
            stored = {table.stored for table in self.tables if table.stored}

            def readable(schema: str, table: str) -> bool:
                if schema in ("main", ""):
                    return table in stored or (not schema and not table.startswith(PREFIX))
                return schema == "temp" or schema in attached

            sandbox.confine(connection, readable=readable, deadline=deadline)
            yield connection

    def _attached(self, sql: str) -> dict[str, Path]:
        """The SQLite files whose name, or whose tables' names, the statement mentions."""
        words = set(re.findall(r"\w+", sql.lower()))
        meant = {
            table.name.partition(".")[0]: table.database
            for table in self.tables
            if table.database and not words.isdisjoint(table.name.lower().split("."))
        }
        if len(meant) > MOST_ATTACHED:
            raise sqlite3.OperationalError(f"it names more than {MOST_ATTACHED} databases at once")
        return meant


def workbook_of(folder: Path, *, user: User) -> Workbook:
    """The tables of a folder that the user may see, loaded where they are new or changed. Blocks while it loads.

    Raises DocumentError for a folder that cannot be used and StorageError for a cache that cannot.
    """
    real = existing(folder)
    own = home()
    cache = own / "tables" / f"{hashlib.blake2b(bytes(real), digest_size=16).hexdigest()}.db"
    access = rules_of(real)
    found, _ = scan(real, without={own, own.resolve()})
    seen = [each for each in found if access.allows(each.file, user)]
    unique = Unique(separator="_")
    tables: list[Table] = []
    skipped: list[Skipped] = []
    try:
        cache.parent.mkdir(mode=0o700, exist_ok=True)
        with closing(cache_at(cache)) as connection:
            forget(connection, but={each.file for each in found})
            for each in seen:
                suffix = PurePosixPath(each.file).suffix.lower()
                try:
                    if suffix in SHEETS:
                        sheet = sheet_of(connection, each)
                        name = unique(_sql_name(each.file))
                        tables.append(Table(name, each.file, sheet.columns, sheet.rows, stored=sheet.name))
                    elif suffix in DATABASES:
                        tables += _inside(each, unique(_sql_name(each.file)))
                except DocumentError as error:
                    skipped.append((each.file, str(error)))
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"the cache of tables {cache}: {error}; remove the file to have it made anew") from error
    return Workbook(cache, tuple(tables), tuple(skipped))


def _inside(found: Found, schema: str) -> list[Table]:
    """The tables and views of an SQLite file."""
    opened(found).close()  # refuses what became a link since the scan
    try:
        with closing(sqlite3.connect(_uri(found.path), uri=True, timeout=5)) as connection:
            ends = time.monotonic() + 2  # counting the rows of a huge table is not worth more
            connection.set_progress_handler(lambda: int(time.monotonic() > ends), 10_000)
            named = connection.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
                " AND substr(name, 1, 7) <> 'sqlite_' ORDER BY name"
            ).fetchall()
            return [_table(connection, found, schema, name) for (name,) in named]
    except sqlite3.Error as error:
        raise DocumentError(f"cannot be opened as an SQLite database: {error}") from error


def _table(connection: sqlite3.Connection, found: Found, schema: str, name: str) -> Table:
    quoted = name.replace('"', '""')
    columns = connection.execute("SELECT name, type FROM pragma_table_info(?)", (name,)).fetchall()
    try:
        rows = connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0]
    except sqlite3.Error:
        rows = None
    return Table(
        f"{schema}.{name}",
        found.file,
        tuple(Column(column, _affinity(declared)) for column, declared in columns),
        rows,
        database=found.path,
    )


def _affinity(declared: str) -> Type:
    upper = declared.upper()
    if "INT" in upper:
        return "INTEGER"
    return "REAL" if any(part in upper for part in ("REAL", "FLOA", "DOUB", "DEC", "NUM")) else "TEXT"


def _sql_name(file: str) -> str:
    """The file's name as SQL takes it without quotes."""
    name = slug(PurePosixPath(file).stem, separator="_") or "table_1"
    return f"t_{name}" if name[0].isdigit() or name in KEYWORDS or name.startswith("sqlite_") else name


def _uri(path: Path) -> str:
    return f"file:{quote(str(path))}?mode=ro"
