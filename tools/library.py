"""A folder of documents: kept indexed, searched, read and cited."""

import hashlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from state.context import User
from state.errors import DocumentError
from tools import names, query
from tools.access import Access, rules_of
from tools.folder import Found, Skipped, content, existing, scan
from tools.index import Entry, Index, files_of
from tools.passages import Passage, Piece, pieces
from tools.readers import kind, sections

LARGEST = 64 * 2**20  # bytes of a file; what is larger would fill the memory while it is cut
BATCH = 2_000  # passages written in one transaction, so that a second process waits moments for its turn
SETTLED_NS = 2_000_000_000  # a file changed so recently may change again within the same tick of its clock
ANYONE = User()


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh did, in files; `skipped` names each file that is not in the index, and why."""

    read: int
    unchanged: int
    removed: int
    skipped: list[Skipped]


class Library:
    """The documents below a folder, indexed in a database elsewhere. Safe from any thread and several processes.

    Nothing is read before the first `refresh`; what the last one did is `refreshed`. Every method that
    gives text gives only what the user may see.
    Raises DocumentError for a folder that cannot be used and StorageError for a database that cannot.
    """

    def __init__(self, folder: Path, database: Path) -> None:
        self.folder = existing(folder)
        self._index = Index(database)
        self._own = files_of(database.absolute()) | files_of(database.resolve())
        self._refreshing = threading.Lock()
        self.refreshed: Refreshed | None = None

    def refresh(self) -> Refreshed:
        """Brings the index up to date: reads what is new or changed, forgets what is gone.

        A file with the size and time it had is not opened; one with the content it had is not indexed again.
        Raises DocumentError where the folder is gone or holds nothing readable.
        """
        with self._refreshing:
            existing(self.folder)
            access = rules_of(self.folder)
            found, skipped = scan(self.folder, without=self._own)
            self.refreshed = self._update(found, skipped, access)
            return self.refreshed

    def search(self, text: str, *, limit: int = 8, user: User = ANYONE) -> list[Passage]:
        """The passages that hold any of the words asked for, best first by BM25, at most `limit`."""
        expression = query.expression(text)
        return self._index.search(expression, limit=limit, user=user) if expression and limit > 0 else []

    def occurrences(self, text: str, *, user: User = ANYONE) -> tuple[dict[str, int], int]:
        """In how many of the passages each word of a query stands, and how many passages there are."""
        words = [term for term in query.terms(text) if " " not in term]
        return self._index.occurrences(words, user=user)

    def read(self, file: str, *, section: str | None = None, user: User = ANYONE) -> list[Passage]:
        """A file's passages in order, or those of one section with all its parts; empty where there are none."""
        if section is None:
            return self._index.span(file, 0, 2**31, user=user)
        return self._index.section(file, section, user=user)

    def passage(self, reference: str, *, user: User = ANYONE) -> Passage | None:
        """The passage that a citation names, with or without its brackets; None where there is none to see."""
        file, section = names.parts(reference)
        found = self._index.section(file, section, user=user) if section is not None else []
        return next((passage for passage in found if passage.section == section), None)

    def around(self, passage: Passage, *, before: int = 1, after: int = 1, user: User = ANYONE) -> list[Passage]:
        """The passage with its neighbours in the file, in order."""
        return self._index.span(passage.file, passage.position - before, passage.position + after, user=user)

    def files(self, *, user: User = ANYONE) -> list[str]:
        """The files that hold anything to read, sorted."""
        return self._index.files(user=user)

    def close(self) -> None:
        """Closes the database; the library may be used again."""
        self._index.close()

    def _update(self, found: list[Found], skipped: list[Skipped], access: Access) -> Refreshed:
        known = self._index.entries()
        groups = {each.file: access.groups(each.file) for each in found}
        # A rule that closes a file must hold before anything else is done.
        self._index.grant(groups)
        current: dict[str, Entry] = {}
        restamped: list[Entry] = []
        batch: list[tuple[Entry, list[Piece]]] = []
        read = size = 0
        for each in found:
            try:
                entry, cut = _taken(each, known.get(each.file))
            except DocumentError as error:
                skipped.append((each.file, str(error)))
                continue
            current[each.file] = entry
            if cut is None:
                if entry != known[each.file]:
                    restamped.append(entry)
                continue
            read += not entry.reason
            batch.append((entry, cut))
            size += len(cut) + 10
            if size >= BATCH:
                self._index.replace(batch, groups)
                batch, size = [], 0
        self._index.replace(batch, groups)
        self._index.restamp(restamped)
        gone = known.keys() - current.keys()
        self._index.remove(sorted(gone))
        skipped += [(entry.file, entry.reason) for entry in current.values() if entry.reason]
        readable = sum(not entry.reason for entry in current.values())
        if not readable:
            raise DocumentError(_nothing(self.folder, skipped))
        return Refreshed(read, readable - read, sum(not known[file].reason for file in gone), sorted(skipped))


def _taken(found: Found, known: Entry | None) -> tuple[Entry, list[Piece] | None]:
    """What to keep of a file, and its pieces, or None for them where those in the index are still right.

    Raises DocumentError for a file that cannot be read now, but may be without having changed.
    """
    if not kind(found.file):
        raise DocumentError("not a kind of file that is read")
    if known and (known.size, known.mtime_ns) == (found.size, found.mtime_ns):
        return known, None
    recent = abs(time.time_ns() - found.mtime_ns) < SETTLED_NS
    data = content(found, limit=LARGEST)
    digest = hashlib.blake2b(data, digest_size=16).digest()
    mtime = -1 if recent else found.mtime_ns  # -1 is never a file's time: the content is compared the next time
    if known and known.digest == digest:
        return Entry(found.file, found.size, mtime, digest, known.reason), None
    cut: list[Piece] = []
    reason = ""
    try:
        cut = list(pieces(sections(found.file, data)))
        reason = "" if cut else "holds no text"
    except DocumentError as error:
        cut, reason = [], str(error)
    return Entry(found.file, found.size, mtime, digest, reason), cut


def _nothing(folder: Path, skipped: list[Skipped]) -> str:
    seen = "; ".join(f"{file} ({reason})" for file, reason in skipped[:3]) or "it is empty"
    return f"nothing readable in {folder}: {seen}; put Markdown, text, HTML, PDF or CSV files there"
