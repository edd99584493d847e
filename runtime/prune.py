"""Which steps can go: those that no step that stays needs to know what its channels hold.

A transcript's channel saves only what was added, so that its value stands in the steps before: from the
last whole copy on, these are kept.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import _DeltaSnapshot  # what a whole copy of a transcript is saved as

from runtime import verify
from runtime.rows import HERE, ROW, Change, Place, Row
from runtime.seal import Sealer

ENGINE = ("branch:to:", "join:", "__")  # channels that are empty between steps, and hold nothing to be kept


def keep_latest(change: Change, serde: SerializerProtocol) -> None:
    """Remove all but the newest step of each namespace, and what those need."""
    rows = [*_rows(change.cursor, change.thread)]
    newest = {row.namespace: row for row in rows}  # the last one of each wins: they come in order
    _remove(change, rows, {row.place for row in newest.values()}, serde)


def keep_turns(
    change: Change, count: int, serde: SerializerProtocol, whole: Mapping[Place, Mapping[str, Any]]
) -> tuple[int, int]:
    """Remove what was saved before the newest inputs, so many of them, with the nested graphs that ran then.

    `whole` has, for the steps that `edges` names, what their transcripts hold: it is saved there, so that none of
    the steps before is needed. Returns how many steps went, and how many stay.
    """
    rows = [*_rows(change.cursor, change.thread)]
    stay = _since(rows, count)
    for row in _edges(rows, stay):
        if filled := {name: _DeltaSnapshot(value) for name, value in whole.get(row.place, {}).items()}:
            checkpoint = serde.loads_typed((row.type, row.checkpoint))
            checkpoint["channel_values"] = filled | checkpoint["channel_values"]
            type_, blob = serde.dumps_typed(checkpoint)
            change.put(row._replace(type=type_, checkpoint=blob), _about(change.cursor, row.place))
    gone = _remove(change, [*_rows(change.cursor, change.thread)], stay, serde)
    return gone, len(rows) - gone


def edges(cursor: sqlite3.Cursor, thread: str, count: int) -> list[Place]:
    """The steps that `keep_turns` leaves without the one before them."""
    rows = [*_rows(cursor, thread)]
    return [row.place for row in _edges(rows, _since(rows, count))]


def remove_runs(change: Change, runs: Iterable[str], serde: SerializerProtocol) -> None:
    """Remove the steps of some runs, but for those that steps of other runs need."""
    rows, gone = [*_rows(change.cursor, change.thread)], set(runs)
    _remove(change, rows, {row.place for row in rows if _said(row).get("run_id") not in gone}, serde)


def copy(source: str, change: Change, sealer: Sealer) -> None:
    """Put every step of another thread into this one."""
    for row in _rows(change.cursor, source):
        writes = verify.writes(change.cursor, sealer, row)
        moved = row._replace(thread=change.thread)
        change.put(moved, _about(change.cursor, row.place))
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


def _remove(change: Change, rows: list[Row], stay: set[Place], serde: SerializerProtocol) -> int:
    by_place = {row.place: row for row in rows}
    kept = stay.union(*(_needed(row, by_place, serde) for row in _edges(rows, stay)))
    gone = [row.place for row in rows if row.place not in kept]
    for place in gone:
        change.remove(place)
    return len(gone)


def _since(rows: list[Row], count: int) -> set[Place]:
    """The steps since the newest inputs. A nested graph that goes on from turn to turn keeps its newest one."""
    inputs = [row.id for row in rows if not row.namespace and _said(row).get("source") == "input"]
    since = inputs[-count] if count <= len(inputs) else ""
    roots = {row.id for row in rows if not row.namespace and row.id >= since}
    lasting = {row.namespace: row.place for row in rows if row.namespace and ":" not in row.namespace}
    return {row.place for row in rows if _root(row) in roots} | {*lasting.values()}


def _edges(rows: list[Row], stay: set[Place]) -> list[Row]:
    there = {row.place for row in rows} - stay
    return [row for row in rows if row.place in stay and (row.thread, row.namespace, row.parent) in there]


def _root(row: Row) -> str:
    """The step of the thread itself in which a step was taken."""
    return str((_said(row).get("parents") or {}).get("", "") if row.namespace else row.id)


def _about(cursor: sqlite3.Cursor, place: Place) -> str:
    found: tuple[str] = cursor.execute(f"SELECT about FROM steps WHERE {HERE}", place).fetchone()
    return found[0]


def _needed(row: Row, rows: dict[Any, Row], serde: SerializerProtocol) -> Iterator[Place]:
    """The steps before this one from which its channels are put together."""
    checkpoint = serde.loads_typed((row.type, row.checkpoint))
    counted = _said(row).get("counters_since_delta_snapshot")
    named = counted if counted is not None else checkpoint.get("channel_versions") or {}
    left = {name for name in named if not name.startswith(ENGINE)}
    left -= (checkpoint.get("channel_values") or {}).keys()
    at = rows.get((row.thread, row.namespace, row.parent))
    while left and at is not None:
        yield at.place
        left -= (serde.loads_typed((at.type, at.checkpoint)).get("channel_values") or {}).keys()
        at = rows.get((at.thread, at.namespace, at.parent))


def _said(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.metadata)
    return found


def _rows(cursor: sqlite3.Cursor, thread: str) -> Iterator[Row]:
    query = f"{ROW} WHERE thread_id = ? ORDER BY checkpoint_id"
    return (Row(*found) for found in cursor.execute(query, (thread,)).fetchall())
