"""Whether what is saved is what was saved: rows against their seals, seals against the heads of their threads."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from runtime.lease import FREE
from runtime.rows import (
    COLUMNS,
    NOBODY,
    ROW,
    WRITES,
    Change,
    Hold,
    Kept,
    Place,
    Row,
    Step,
    Write,
    kept,
    read_step,
    row_digest,
    step,
    step_seal,
    write_digest,
)
from runtime.seal import MEND, WHOLE, Sealer, readable
from state.errors import IntegrityError

PLACE = "thread_id, checkpoint_ns, checkpoint_id"
STEPS = f"SELECT {PLACE}, about, digest, writes, sum, seal FROM steps WHERE thread_id = ?"
ALL_WRITES = f"SELECT {PLACE}, task_id, channel, type, value, task_path, idx FROM writes WHERE thread_id = ?"
OF_STEPS = f"SELECT count(*) FROM {{}} JOIN steps USING ({PLACE}) WHERE thread_id = ?"
TABLES = ("checkpoints", "writes", "steps", "heads")

Written = tuple[int, int]  # the number of a step's pending writes, and the sum of their digests


def writes(cursor: sqlite3.Cursor, sealer: Sealer, row: Row) -> Sequence[Write]:
    """The pending writes of a row that, with them, is as it was saved. Raises IntegrityError."""
    found: list[Write] = cursor.execute(WRITES, row.place).fetchall()
    stands = step(cursor, row.place)
    total = sum(write_digest(sealer, row.place, w) for w in found) % WHOLE
    if fault := _fault(sealer, row.place, stands, row_digest(sealer, row), (len(found), total)):
        raise IntegrityError(_said(row.place, stands, fault))
    return found


def missing(cursor: sqlite3.Cursor, place: Place) -> None:
    """Raise IntegrityError where a step is known whose checkpoint is not there."""
    stands = step(cursor, place)
    if stands is not None and stands.digest:
        raise IntegrityError(_said(place, stands, "its checkpoint was taken away"))


def adds_up(cursor: sqlite3.Cursor, sealer: Sealer, thread: str, found: Kept) -> bool:
    """Whether a thread has the very steps that its head counts, with all of their rows, and no others."""
    if sealer.head(thread, found.head) != found.digest:
        return False
    steps, checkpoints, written, total = 0, 0, 0, 0
    for *at, about, digest, number, writes_sum, seal in cursor.execute(STEPS, (thread,)).fetchall():
        stands = read_step((about, digest, number, writes_sum, seal))
        if step_seal(sealer, _place(at), stands) != stands.seal:
            return False
        steps, checkpoints = steps + 1, checkpoints + bool(stands.digest)
        written, total = written + stands.writes, total + stands.seal
    if total % WHOLE != found.head.sum or steps + written != found.head.rows:
        return False
    there = [cursor.execute(OF_STEPS.format(table), (thread,)).fetchone()[0] for table in TABLES[:2]]
    return there == [checkpoints, written] == [_count(cursor, table, thread) for table in TABLES[:2]]


def unknown(cursor: sqlite3.Cursor, thread: str) -> None:
    """Raise IntegrityError where a thread has rows, but no head."""
    if any(_count(cursor, table, thread) for table in TABLES[:3]):
        raise IntegrityError(_headless(thread))


def first(cursor: sqlite3.Cursor, sealer: Sealer, thread: str) -> str:
    """The first thing that is wrong with a thread."""
    return next(iter(faults(cursor, sealer, thread)), f"thread {thread!r} was changed: {MEND}")


def faults(cursor: sqlite3.Cursor, sealer: Sealer, thread: str) -> list[str]:
    """Everything that is wrong with a thread, old steps included, each with its step."""
    if not readable(thread):
        return [f"some rows are of no thread: their name was changed to {thread!r}: {MEND}"]
    with any_text(cursor.connection):
        return [*_faults(cursor, sealer, thread)]


def _faults(cursor: sqlite3.Cursor, sealer: Sealer, thread: str) -> Iterator[str]:
    stands, steps, rows = kept(cursor, thread), dict[Place, Step](), dict[Place, int]()
    written: dict[Place, Written] = {}
    if stands is not None and sealer.head(thread, stands.head) != stands.digest:
        yield f"thread {thread!r}: its head was changed, or made with another key than the one here: {MEND}"
    for *at, about, digest, number, total, seal in cursor.execute(STEPS, (thread,)):
        steps[_place(at)] = read_step((about, digest, number, total, seal))
    for found in cursor.execute(f"{ROW} WHERE thread_id = ?", (thread,)):
        row = Row(*found)
        rows[row.place] = row_digest(sealer, row)
    for *at, task, channel, type_, value, path, index in cursor.execute(ALL_WRITES, (thread,)):
        count, total = written.get(place := _place(at), (0, 0))
        digest = write_digest(sealer, place, (task, channel, type_, value, path, index))
        written[place] = count + 1, (total + digest) % WHOLE
    clean = True
    for place in sorted({*steps, *rows, *written}, key=repr):
        if fault := _fault(sealer, place, steps.get(place), rows.get(place, 0), written.get(place, (0, 0))):
            clean = False
            yield _said(place, steps.get(place), fault)
    if stands is None and (steps or rows or written):
        yield _headless(thread)
    elif clean and stands is not None and not adds_up(cursor, sealer, thread, stands):
        newest = max(steps, key=lambda place: str(place[2]), default=None)
        left = f"the newest that is left is{_named(newest, steps.get(newest))}" if newest else "none is left"
        yield (
            f"thread {thread!r} has not the steps that its head counts: some were taken away, or put back as they "
            f"once were, together with their seals ({left}): {MEND}"
        )


def threads(cursor: sqlite3.Cursor) -> list[str]:
    """All threads of which there is a row of any kind."""
    query = " UNION ".join(f"SELECT thread_id FROM {table}" for table in TABLES)
    with any_text(cursor.connection):
        return sorted(str(name) for (name,) in cursor.execute(query).fetchall())


def seal(cursor: sqlite3.Cursor, sealer: Sealer, about: Callable[[Row], str]) -> None:
    """Seal what was saved before there were seals, as it stands now; `about` says what its history shows."""
    for thread in threads(cursor):
        change = Change(cursor, sealer, Hold(thread, FREE), NOBODY)
        places = f"SELECT {COLUMNS} FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id"
        for row in (Row(*found) for found in cursor.execute(places, (thread,)).fetchall()):
            change.adopt(row, about(row), cursor.execute(WRITES, row.place).fetchall())
        change.close()


def _fault(sealer: Sealer, place: Place, stands: Step | None, digest: int, written: Written) -> str:
    """What is wrong with a step, whose checkpoint has a digest, or 0 where there is none."""
    if stands is None:
        return "it was put in, or its seal was taken away"
    if step_seal(sealer, place, stands) != stands.seal:
        return "its seal was changed"
    if digest != stands.digest:
        return "its checkpoint was changed" if digest else "its checkpoint was taken away"
    if written[0] != stands.writes:
        return f"{written[0]} of its {stands.writes} writes are there"
    return "" if written[1] == stands.sum else "one of its writes was changed"


def _said(place: Place, stands: Step | None, fault: str) -> str:
    return f"thread {place[0]!r} was changed at{_named(place, stands)}: {fault}; {MEND}"


def _named(place: Place, stands: Step | None) -> str:
    number = ""
    if stands is not None:
        with suppress(ValueError, AttributeError, TypeError):
            number = f" {json.loads(stands.about).get('step')}"
    inside = f" inside {place[1]}" if place[1] else ""
    return f" step{number} ({place[2]}){inside}"


def _headless(thread: str) -> str:
    return f"thread {thread!r} has steps, but its head was taken away: {MEND}"


def _place(at: Sequence[str]) -> Place:
    thread, namespace, id_ = at
    return thread, namespace, id_


@contextmanager
def any_text(conn: sqlite3.Connection) -> Iterator[None]:
    """Read also what is no text any more."""
    usual, conn.text_factory = conn.text_factory, lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        conn.text_factory = usual


def _count(cursor: sqlite3.Cursor, table: str, thread: str) -> int:
    return int(cursor.execute(f"SELECT count(*) FROM {table} WHERE thread_id = ?", (thread,)).fetchone()[0])
