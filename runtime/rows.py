"""The tables of the guarded saver, and how their rows and sums change together.

Beside LangGraph's stock tables stand two of our own. `steps` has a line for each checkpoint: its digest,
the sum of the digests of its pending writes, and what a history shows of it. `heads` has a line for each
thread: the sum over its steps, and who holds it until when.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata

from runtime.lease import FREE, Lease, overtaken
from runtime.seal import WHOLE, Head, Sealer, read, stored

Place = tuple[str, str, str]  # thread, namespace, id of a checkpoint
Write = tuple[str, str, str, bytes, str, int]  # task, channel, type, value, task path, index

TABLES = """
CREATE TABLE IF NOT EXISTS steps (
    thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL, checkpoint_id TEXT NOT NULL,
    about TEXT NOT NULL, digest BLOB NOT NULL, writes INTEGER NOT NULL, sum BLOB NOT NULL,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS heads (
    thread_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, rows INTEGER NOT NULL, sum BLOB NOT NULL,
    digest BLOB NOT NULL, epoch INTEGER NOT NULL, holder TEXT NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID;
"""
AT_WORK = 64  # steps of a thread whose sums are kept in memory
HERE = "thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
COLUMNS = "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
ROW = f"SELECT {COLUMNS} FROM checkpoints"
WRITES = f"SELECT task_id, channel, type, value, task_path, idx FROM writes WHERE {HERE}"
STEP = f"SELECT about, digest, writes, sum FROM steps WHERE {HERE}"
NEWEST = (
    "SELECT checkpoint_id FROM steps WHERE thread_id = ? AND checkpoint_ns = ? AND digest != ? "
    "ORDER BY checkpoint_id DESC LIMIT 1"
)
HEAD = "SELECT sequence, rows, sum, digest, epoch, holder, expires FROM heads WHERE thread_id = ?"
PUT = f"INSERT OR REPLACE INTO checkpoints ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
PUT_WRITE = (
    "INSERT OR REPLACE INTO writes (task_id, channel, type, value, task_path, idx, "
    "thread_id, checkpoint_ns, checkpoint_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
PUT_STEP = (
    "INSERT OR REPLACE INTO steps (about, digest, writes, sum, thread_id, checkpoint_ns, checkpoint_id) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
COUNT = f"UPDATE steps SET writes = ?, sum = ? WHERE {HERE}"
PUT_HEAD = (
    "INSERT OR REPLACE INTO heads (sequence, rows, sum, digest, epoch, holder, expires, thread_id) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
MOVE_HEAD = (
    "UPDATE heads SET sequence = ?, rows = ?, sum = ?, digest = ?, epoch = ?, holder = ?, expires = ? "
    "WHERE thread_id = ? AND sequence = ? AND epoch = ? AND holder = ?"
)
HOLD = "UPDATE heads SET epoch = ?, holder = ?, expires = ? WHERE thread_id = ?"


class Row(NamedTuple):
    """One row of the table of checkpoints."""

    thread: str
    namespace: str
    id: str
    parent: str | None
    type: str
    checkpoint: bytes
    metadata: bytes

    @property
    def place(self) -> Place:
        """Where it belongs."""
        return self.thread, self.namespace, self.id


@dataclass(slots=True)
class Step:
    """What stands of a checkpoint beside its row: the digest of the row, and number and sum of its pending writes.

    `tasks` are those that brought the writes, as far as this process wrote them itself.
    """

    about: str
    digest: int = 0
    writes: int = 0
    sum: int = 0
    tasks: set[str] = field(default_factory=set)


Known = dict[Place, Step]


class Kept(NamedTuple):
    """What stands of a thread: its head, the digest of that, and who holds the thread."""

    head: Head
    digest: bytes
    lease: Lease


NOBODY = Kept(Head(), b"", FREE)


def row_digest(sealer: Sealer, row: Row, about: str) -> int:
    """The digest of a checkpoint's row, and of what the history shows of it."""
    return sealer.of("checkpoint", *row, about)


def write_digest(sealer: Sealer, place: Place, write: Write) -> int:
    """The digest of one pending write."""
    return sealer.of("write", *place, *write)


def kept(cursor: sqlite3.Cursor, thread: str) -> Kept | None:
    """What stands of a thread; None of one that nobody wrote to."""
    found = cursor.execute(HEAD, (thread,)).fetchone()
    if found is None:
        return None
    sequence, rows, sum_, digest, epoch, holder, expires = found
    return Kept(Head(sequence, rows, read(sum_)), digest, Lease(epoch, holder, expires))


def step(cursor: sqlite3.Cursor, place: Place) -> Step | None:
    """What stands of a checkpoint beside its row."""
    found = cursor.execute(STEP, place).fetchone()
    return None if found is None else Step(found[0], read(found[1]), found[2], read(found[3]))


class Change:
    """Rows of one thread on their way into a transaction; sums follow every row.

    `known` are steps that were written under the same hold, newest last: nobody else can have changed them.
    """

    def __init__(self, cursor: sqlite3.Cursor, sealer: Sealer, thread: str, stands: Kept, known: Known) -> None:
        self.cursor, self.sealer, self.thread, self.known = cursor, sealer, thread, known
        self.before, self.rows, self.sum = stands, stands.head.rows, stands.head.sum
        self.lease = stands.lease

    def put(self, row: Row, about: str) -> None:
        """Write a checkpoint, or write one anew."""
        old, digest = self._step(row.place), row_digest(self.sealer, row, about)
        new = Step(about, digest, old.writes, old.sum, old.tasks) if old else Step(about, digest)
        self.cursor.execute(PUT, row)
        self.cursor.execute(PUT_STEP, (about, stored(digest), new.writes, stored(new.sum), *row.place))
        self._keep(row.place, new)
        self._add(0 if old else 1, digest - (old.digest if old else 0))

    def put_writes(self, place: Place, writes: Sequence[Write], *, replaces: bool) -> None:
        """Write what a task brought. What stands there already stays, unless the new one `replaces` it."""
        step = self._step(place)
        if step is None:
            step = Step("{}")
            self.cursor.execute(PUT_STEP, ("{}", stored(0), 0, stored(0), *place))
        had = self._had(place, step, writes[0][0] if writes else "")
        new = [w for w in writes if replaces or w[5] not in had]
        more = sum(w[5] not in had for w in new)
        change = sum(write_digest(self.sealer, place, w) for w in new)
        change -= sum(write_digest(self.sealer, place, had[w[5]]) for w in new if w[5] in had)
        self.cursor.executemany(PUT_WRITE, [(*w, *place) for w in new])
        self._count(place, step, more, change)
        step.tasks.update(w[0] for w in writes)

    def adopt(self, row: Row, writes: Sequence[Write]) -> None:
        """Seal what stands there already. What its history shows of it is not known."""
        self.put(row, "{}")
        digests = sum(write_digest(self.sealer, row.place, w) for w in writes)
        self._count(row.place, self.known[row.place], len(writes), digests)

    def remove(self, place: Place) -> None:
        """Take a checkpoint away, with its writes."""
        old = self._step(place)
        for table in ("checkpoints", "writes", "steps"):
            self.cursor.execute(f"DELETE FROM {table} WHERE {HERE}", place)
        self.known.pop(place, None)
        if old is not None:
            self._add(-1 - old.writes, -old.digest - old.sum)

    def clear(self) -> None:
        """Take the whole thread away."""
        for table in ("checkpoints", "writes", "steps"):
            self.cursor.execute(f"DELETE FROM {table} WHERE thread_id = ?", (self.thread,))
        self.known.clear()
        self.rows, self.sum = 0, 0

    def close(self) -> Kept:
        """Write the head; nothing of the thread may change after it. Raises ThreadError when somebody else did."""
        head = Head(self.before.head.sequence + 1, self.rows, self.sum % WHOLE)
        digest, was = self.sealer.head(self.thread, head), self.before
        parts = (head.sequence, head.rows, stored(head.sum), digest, *self.lease)
        if was.head.sequence:
            known = (self.thread, was.head.sequence, was.lease.epoch, was.lease.holder)
            if not self.cursor.execute(MOVE_HEAD, (*parts, *known)).rowcount:
                raise overtaken(self.thread)
        else:
            self.cursor.execute(PUT_HEAD, (*parts, self.thread))
        return Kept(head, digest, self.lease)

    def _step(self, place: Place) -> Step | None:
        return self.known.get(place) or step(self.cursor, place)

    def _had(self, place: Place, step: Step, task: str) -> dict[int, Write]:
        """What a task brought before. Of a step that was made under this hold, its tasks are known."""
        if place in self.known and task not in step.tasks:
            return {}
        query = WRITES + " AND task_id = ?"
        return {found[5]: found for found in self.cursor.execute(query, (*place, task)).fetchall()}

    def _count(self, place: Place, step: Step, rows: int, change: int) -> None:
        step.writes, step.sum = step.writes + rows, (step.sum + change) % WHOLE
        self.cursor.execute(COUNT, (step.writes, stored(step.sum), *place))
        self._add(rows, change)

    def _add(self, rows: int, change: int) -> None:
        self.rows, self.sum = self.rows + rows, self.sum + change

    def _keep(self, place: Place, step: Step) -> None:
        self.known[place] = step
        while len(self.known) > AT_WORK:
            del self.known[next(iter(self.known))]


def new_head(cursor: sqlite3.Cursor, sealer: Sealer, thread: str, lease: Lease) -> None:
    """Write the head of a thread that has no rows yet."""
    head = Head(1)
    cursor.execute(PUT_HEAD, (head.sequence, 0, stored(0), sealer.head(thread, head), *lease, thread))


def about(checkpoint: Checkpoint, metadata: CheckpointMetadata) -> str:
    """What a history shows of a step, so that it need not read the whole of it."""
    values: Mapping[str, Any] = checkpoint.get("channel_values") or {}
    own = {name: values.get(name) for name in ("branch", "turn", "outcome") if values.get(name)}
    shown = {"step": metadata.get("step"), "source": metadata.get("source"), "at": checkpoint.get("ts")}
    return orjson.dumps({**shown, "next": next_of(values), **own}, default=str).decode()


def next_of(values: Mapping[str, Any]) -> list[str]:
    """The nodes that run next, read from the channels that trigger them."""
    named = [name.removeprefix("branch:to:") for name in values if name.startswith("branch:to:")]
    joined = [
        name.rsplit(":", 1)[1] for name, seen in values.items() if name.startswith("join:") and _all_in(name, seen)
    ]
    sent = [getattr(send, "node", "") for send in values.get("__pregel_tasks") or []]
    start = ["__start__"] if "__start__" in values else []
    return [*start, *sorted({*named, *joined, *filter(None, sent)})]


def _all_in(name: str, seen: Iterable[str]) -> bool:
    return set(name.split(":")[1].split("+")) <= set(seen)
