"""Seals on what the store keeps, and the heads of its books.

Every value carries a keyed digest over its namespace, its key and itself. A book (the records of one
turn on one branch) has a head besides: the digest of how many records it has and of the sum of their
digests, so that no record is changed, moved, taken away or put back unseen.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from runtime.seal import MEND, WHOLE, Sealer, readable, stored
from state.errors import IntegrityError

SEAL = "__seal"
BOOKS = "book."  # how the namespace of a book begins
TABLE = "CREATE TABLE IF NOT EXISTS books (prefix TEXT PRIMARY KEY, head BLOB NOT NULL) WITHOUT ROWID"
HEAD = "SELECT head FROM books WHERE prefix = ?"
MOVE = "UPDATE books SET head = ? WHERE prefix = ? AND head = ?"
BEGIN = "INSERT INTO books (head, prefix) VALUES (?, ?) ON CONFLICT DO NOTHING"
RECORDS = "SELECT key, value FROM store WHERE prefix = ? ORDER BY key"
AT_WORK = 256  # books whose sums are kept in memory


@dataclass(slots=True)
class Shelf:
    """One book: its head (none before its first record), and the sum and each of its records' digests."""

    head: bytes = b""
    sum: int = 0
    digests: dict[str, int] = field(default_factory=dict)


class Seals:
    """Seals values, and keeps the heads of books in step with their records."""

    def __init__(self, sealer: Sealer) -> None:
        self.sealer = sealer
        self._at_work: OrderedDict[str, Shelf] = OrderedDict()

    def sealed(self, prefix: str, key: str, text: bytes) -> tuple[bytes, int]:
        """A JSON object with its seal in it, and its digest."""
        digest = self.sealer.of("kept", prefix, key, text)
        comma = b"," if len(text) > 2 else b""
        return b'%b%b"%b":"%064x"}' % (text[:-1], comma, SEAL.encode(), digest), digest

    def opened(self, prefix: str, key: str, value: dict[str, Any]) -> int:
        """Take the seal off a value that is as it was saved; its digest. Raises IntegrityError."""
        seal = value.pop(SEAL, None)
        digest = self.sealer.of("kept", prefix, key, orjson.dumps(value))
        if seal != f"{digest:064x}":
            raise IntegrityError(f"{what(prefix)} was changed at {value.get('visit') or key}: {MEND}")
        return digest

    def count(self, cursor: sqlite3.Cursor, prefix: str, new: Mapping[str, int]) -> None:
        """Move the head of a book on to the records that are about to be written. Raises IntegrityError."""
        shelf = self._at_work.get(prefix) or self.read(cursor, prefix)[0]
        if not self._move(cursor, prefix, shelf, new):  # another process wrote to it
            self._move(cursor, prefix, self.read(cursor, prefix)[0], new)

    def read(self, cursor: sqlite3.Cursor, prefix: str) -> tuple[Shelf, list[dict[str, Any]]]:
        """A book as it was saved, with its records. Raises IntegrityError."""
        shelf, records = Shelf(), list[dict[str, Any]]()
        for key, text in cursor.execute(RECORDS, (prefix,)).fetchall():
            records.append(value := loaded(prefix, key, text))
            shelf.digests[key] = self.opened(prefix, key, value)
        shelf.sum = sum(shelf.digests.values()) % WHOLE
        head = cursor.execute(HEAD, (prefix,)).fetchone()
        if head is not None:
            shelf.head = head[0]
        if (head is None and records) or (head is not None and head[0] != self._head(prefix, shelf)):
            raise IntegrityError(f"{what(prefix)} has not the records that its head counts: {MEND}")
        self._keep(prefix, shelf)
        return shelf, records

    def forget(self, *prefixes: str) -> None:
        """Drop what was counted in a transaction that was taken back."""
        for prefix in prefixes:
            self._at_work.pop(prefix, None)

    def faults(self, cursor: sqlite3.Cursor, begins: str = "") -> Iterator[str]:
        """Everything that is wrong with what stands under namespaces that begin so."""
        query = "SELECT prefix FROM store UNION SELECT prefix FROM books"
        for prefix in sorted(str(name) for (name,) in cursor.execute(query).fetchall()):
            if not f"{prefix}.".startswith(begins):
                continue
            if not readable(prefix):
                yield f"what is kept under {prefix!r} was moved there: {MEND}"
                continue
            try:
                if prefix.startswith(BOOKS):
                    self.read(cursor, prefix)
                    continue
                for key, text in cursor.execute(RECORDS, (prefix,)).fetchall():
                    self.opened(prefix, key, loaded(prefix, key, text))
            except IntegrityError as error:
                yield str(error)

    def adopt(self, cursor: sqlite3.Cursor) -> None:
        """Seal what was kept before there were seals, as it stands now."""
        books: dict[str, dict[str, int]] = {}
        for prefix, key, text in cursor.execute("SELECT prefix, key, value FROM store").fetchall():
            now, digest = self.sealed(prefix, key, orjson.dumps(orjson.loads(text)))
            cursor.execute("UPDATE store SET value = ? WHERE prefix = ? AND key = ?", (now, prefix, key))
            if prefix.startswith(BOOKS):
                books.setdefault(prefix, {})[key] = digest
        for prefix, digests in books.items():
            self._move(cursor, prefix, Shelf(), digests)

    def _move(self, cursor: sqlite3.Cursor, prefix: str, shelf: Shelf, new: Mapping[str, int]) -> bool:
        was = shelf.head
        for key, digest in new.items():
            shelf.sum = (shelf.sum + digest - shelf.digests.get(key, 0)) % WHOLE
            shelf.digests[key] = digest
        shelf.head = self._head(prefix, shelf)
        parts = (shelf.head, prefix)
        done = cursor.execute(MOVE, (*parts, was)) if was else cursor.execute(BEGIN, parts)
        self._keep(prefix, shelf)
        return bool(done.rowcount)

    def _head(self, prefix: str, shelf: Shelf) -> bytes:
        return stored(self.sealer.of("book", prefix, len(shelf.digests), stored(shelf.sum)))

    def _keep(self, prefix: str, shelf: Shelf) -> None:
        self._at_work[prefix] = shelf
        self._at_work.move_to_end(prefix)
        while len(self._at_work) > AT_WORK:
            self._at_work.popitem(last=False)


def loaded(prefix: str, key: str, text: Any) -> dict[str, Any]:
    """A kept value, with its seal. Raises IntegrityError for what is no JSON object."""
    try:
        value = orjson.loads(text)
    except (orjson.JSONDecodeError, TypeError):
        value = None
    if not isinstance(value, dict):
        raise IntegrityError(f"{what(prefix)} was changed at {key}: {MEND}")
    return value


def what(prefix: str) -> str:
    """A namespace in words."""
    if not prefix.startswith(BOOKS) or prefix.count(".") < 3:
        return f"what is kept under {prefix!r}"
    thread, branch, turn = prefix.removeprefix(BOOKS).split(".")[:3]
    return f"the record book of thread {thread!r} ({branch}, {turn})"
