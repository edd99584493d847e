"""Whether what is saved is what was saved: rows against their seals, seals against the heads of their threads."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress

from runtime.rows import (
    COLUMNS,
    NOBODY,
    ROW,
    WRITES,
    Change,
    Kept,
    Place,
    Row,
    Step,
    Write,
    kept,
    row_digest,
    step,
    write_digest,
)
from runtime.seal import WHOLE, Sealer, read
from state.errors import IntegrityError

MEND = "put the database back from a copy, or drop the thread"


def writes(cursor: sqlite3.Cursor, sealer: Sealer, row: Row) -> Sequence[Write]:
    """The pending writes of a row that, with them, is as it was saved. Raises IntegrityError."""
    found: list[Write] = cursor.execute(WRITES, row.place).fetchall()
    if fault := _fault(sealer, row, step(cursor, row.place), found):
        raise IntegrityError(_said(cursor, row.place, fault))
    return found


def adds_up(cursor: sqlite3.Cursor, sealer: Sealer, thread: str, found: Kept) -> bool:
    """Whether a thread has the very rows that its head counts, as far as their seals tell."""
    head = found.head
    if sealer.head(thread, head) != found.digest:
        return False
    seals = cursor.execute("SELECT digest, sum, writes FROM steps WHERE thread_id = ?", (thread,)).fetchall()
    rows = sum(_count(cursor, table, thread) for table in ("checkpoints", "writes"))
    sums = sum(read(digest) + read(total) for digest, total, _ in seals) % WHOLE
    return rows == head.rows == len(seals) + sum(n for _, _, n in seals) and sums == head.sum


def unknown(cursor: sqlite3.Cursor, thread: str) -> None:
    """Raise IntegrityError where a thread has rows, but no head."""
    if any(_count(cursor, table, thread) for table in ("checkpoints", "writes", "steps")):
        raise IntegrityError(f"thread {thread!r} has steps, but its head was taken away: {MEND}")


def first(cursor: sqlite3.Cursor, sealer: Sealer, thread: str) -> str:
    """The first thing that is wrong with a thread."""
    return next(faults(cursor, sealer, thread), f"thread {thread!r} was changed: {MEND}")


def faults(cursor: sqlite3.Cursor, sealer: Sealer, thread: str) -> Iterator[str]:
    """Everything that is wrong with a thread, old steps included, each with its step."""
    rows = {row.place: row for row in map(_row, cursor.execute(f"{ROW} WHERE thread_id = ?", (thread,)).fetchall())}
    of_writes = "SELECT DISTINCT thread_id, checkpoint_ns, checkpoint_id FROM writes WHERE thread_id = ?"
    of_steps = "SELECT thread_id, checkpoint_ns, checkpoint_id FROM steps WHERE thread_id = ?"
    places = {*rows, *cursor.execute(of_writes, (thread,)).fetchall(), *cursor.execute(of_steps, (thread,)).fetchall()}
    clean, stands = True, kept(cursor, thread)
    if stands is not None and sealer.head(thread, stands.head) != stands.digest:
        clean = False
        yield f"thread {thread!r}: its head was changed, or made with another key than that of this installation: {MEND}"
    for place in sorted(places, key=lambda p: (p[2], p[1])):
        found = cursor.execute(WRITES, place).fetchall()
        if fault := _fault(sealer, rows.get(place), step(cursor, place), found):
            clean = False
            yield _said(cursor, place, fault)
    if stands is None and places:
        yield f"thread {thread!r} has steps, but its head was taken away: {MEND}"
    elif clean and stands is not None and not adds_up(cursor, sealer, thread, stands):
        yield (
            f"thread {thread!r} has not the rows that its head counts: rows were put in or taken away together with "
            f"their seals: {MEND}"
        )


def threads(cursor: sqlite3.Cursor) -> list[str]:
    """All threads of which there is a row of any kind."""
    tables = ("checkpoints", "writes", "steps", "heads")
    query = " UNION ".join(f"SELECT thread_id FROM {table}" for table in tables)
    return sorted(name for (name,) in cursor.execute(query).fetchall())


def seal(cursor: sqlite3.Cursor, sealer: Sealer) -> None:
    """Seal what was saved before there were seals, as it stands now."""
    for thread in threads(cursor):
        change = Change(cursor, sealer, thread, NOBODY, {})
        places = f"SELECT {COLUMNS} FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id"
        for row in map(_row, cursor.execute(places, (thread,)).fetchall()):
            change.adopt(row, cursor.execute(WRITES, row.place).fetchall())
        change.close()


def _fault(sealer: Sealer, row: Row | None, kept: Step | None, found: Sequence[Write]) -> str:
    if kept is None:
        return "it was put in, or its seal was taken away"
    if row is None and kept.digest:
        return "its checkpoint was taken away"
    if row is not None and row_digest(sealer, row, kept.about) != kept.digest:
        return "its checkpoint was changed"
    place = row.place if row is not None else None
    if len(found) != kept.writes:
        return f"{len(found)} of its {kept.writes} writes are there"
    if place is not None and sum(write_digest(sealer, place, w) for w in found) % WHOLE != kept.sum:
        return "one of its writes was changed"
    return ""


def _said(cursor: sqlite3.Cursor, place: Place, fault: str) -> str:
    thread, namespace, id_ = place
    kept, number = step(cursor, place), ""
    if kept is not None:
        with suppress(ValueError, AttributeError):
            number = f" {json.loads(kept.about).get('step')}"
    inside = f" inside {namespace}" if namespace else ""
    return f"thread {thread!r} was changed at step{number} ({id_}){inside}: {fault}; {MEND}"


def _row(found: Sequence[object]) -> Row:
    return Row(*found)  # type: ignore[arg-type]  # its own columns


def _count(cursor: sqlite3.Cursor, table: str, thread: str) -> int:
    return int(cursor.execute(f"SELECT count(*) FROM {table} WHERE thread_id = ?", (thread,)).fetchone()[0])
