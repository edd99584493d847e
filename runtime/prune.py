"""Which steps can go: those that no step that stays needs to know what its channels hold.

A transcript's channel saves only what was added, so that its value stands in the steps before: from the
last whole copy on, these are kept.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from runtime import verify
from runtime.rows import HERE, ROW, Change, Place, Row
from runtime.seal import Sealer

ENGINE = ("branch:to:", "join:", "__")  # channels that are empty between steps, and hold nothing to be kept


def keep_latest(change: Change, serde: SerializerProtocol) -> None:
    """Remove all but the newest step of each namespace, and what those need."""
    rows = [*_rows(change.cursor, change.thread)]
    newest = {row.namespace: row for row in rows}  # the last one of each wins: they come in order
    _remove(change, rows, {row.place for row in newest.values()}, serde)


def remove_runs(change: Change, runs: Iterable[str], serde: SerializerProtocol) -> None:
    """Remove the steps of some runs, but for those that steps of other runs need."""
    rows, gone = [*_rows(change.cursor, change.thread)], set(runs)
    _remove(change, rows, {row.place for row in rows if json.loads(row.metadata).get("run_id") not in gone}, serde)


def copy(source: str, change: Change, sealer: Sealer) -> None:
    """Put every step of another thread into this one."""
    from_step = f"SELECT about FROM steps WHERE {HERE}"
    for row in _rows(change.cursor, source):
        writes = verify.writes(change.cursor, sealer, row)
        (about,) = change.cursor.execute(from_step, row.place).fetchone()
        moved = row._replace(thread=change.thread)
        change.put(moved, about)
        for task in dict.fromkeys(write[0] for write in writes):
            change.put_writes(moved.place, [w for w in writes if w[0] == task], replaces=True)


def threads_of(cursor: sqlite3.Cursor, runs: Iterable[str]) -> list[str]:
    """The threads in which any of some runs left a step."""
    wanted = [*runs]
    marks = ", ".join("?" * len(wanted))
    query = (
        "SELECT DISTINCT thread_id FROM checkpoints WHERE json_extract(CAST(metadata AS TEXT), '$.run_id') "
        f"IN ({marks})"
    )
    return [name for (name,) in cursor.execute(query, wanted).fetchall()]


def _remove(change: Change, rows: list[Row], stay: set[Place], serde: SerializerProtocol) -> None:
    by_place = {row.place: row for row in rows}
    edges = [row for row in rows if row.place in stay and (row.thread, row.namespace, row.parent) not in stay]
    kept = stay.union(*(_needed(row, by_place, serde) for row in edges))
    for row in rows:
        if row.place not in kept:
            change.remove(row.place)


def _needed(row: Row, rows: dict[Any, Row], serde: SerializerProtocol) -> Iterator[Place]:
    """The steps before this one from which its channels are put together."""
    checkpoint = serde.loads_typed((row.type, row.checkpoint))
    left = {name for name in checkpoint.get("channel_versions") or {} if not name.startswith(ENGINE)}
    left -= (checkpoint.get("channel_values") or {}).keys()
    at = rows.get((row.thread, row.namespace, row.parent))
    while left and at is not None:
        yield at.place
        left -= (serde.loads_typed((at.type, at.checkpoint)).get("channel_values") or {}).keys()
        at = rows.get((at.thread, at.namespace, at.parent))


def _rows(cursor: sqlite3.Cursor, thread: str) -> Iterator[Row]:
    query = f"{ROW} WHERE thread_id = ? ORDER BY checkpoint_id"
    return (Row(*found) for found in cursor.execute(query, (thread,)).fetchall())
