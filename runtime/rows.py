"""The tables of the guarded saver, and how their rows and sums change together.

Beside LangGraph's stock tables stand two of our own. `steps` has a line for each checkpoint: its digest,
number and sum of the digests of its pending writes, what a history shows of it, and a seal over all that
with its place. `heads` has a line for each thread: the sum of these seals, and who holds it until when.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runtime.lease import FREE, Lease, overtaken
from runtime.seal import MEND, WHOLE, Head, Sealer, read, stored
from state.errors import IntegrityError

Place = tuple[str, str, str]  # thread, namespace, id of a checkpoint
Write = tuple[str, str, str, bytes, str, int]  # task, channel, type, value, task path, index

TABLES = """
CREATE TABLE IF NOT EXISTS steps (
    thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL, checkpoint_id TEXT NOT NULL,
    about TEXT NOT NULL, digest BLOB NOT NULL, writes INTEGER NOT NULL, sum BLOB NOT NULL, seal BLOB NOT NULL,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS heads (
    thread_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, rows INTEGER NOT NULL, sum BLOB NOT NULL,
    digest BLOB NOT NULL, epoch INTEGER NOT NULL, holder TEXT NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID;
"""
AT_WORK = 64  # steps of a thread whose sums are kept in memory
LAST = 1 << 60  # no epoch comes so far
HERE = "thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
COLUMNS = "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
ROW = f"SELECT {COLUMNS} FROM checkpoints"
WRITES = f"SELECT task_id, channel, type, value, task_path, idx FROM writes WHERE {HERE}"
STEP = f"SELECT about, digest, writes, sum, seal FROM steps WHERE {HERE}"
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
    "INSERT OR REPLACE INTO steps (about, digest, writes, sum, seal, thread_id, checkpoint_ns, checkpoint_id) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
MOVE_STEP = f"UPDATE steps SET about = ?, digest = ?, writes = ?, sum = ?, seal = ? WHERE {HERE}"
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
    """What stands of a checkpoint beside its row: the digest of the row, number and sum of its pending writes, a seal.

    `tasks` are those that brought the writes, as far as this process wrote them itself.
    """

    about: str
    digest: int = 0
    writes: int = 0
    sum: int = 0
    seal: int = 0
    tasks: set[str] = field(default_factory=set)


Known = dict[Place, Step]


class Kept(NamedTuple):
    """What stands of a thread: its head, the digest of that, and who holds the thread."""

    head: Head
    digest: bytes
    lease: Lease


NOBODY = Kept(Head(), b"", FREE)


@dataclass(slots=True)
class Hold:
    """A thread that is held here: the lease, and what was last written under it.

    `known` are steps that were written under it, newest last, and `newest` are the newest of each namespace:
    nobody else can have changed them. One that was not taken has no holder, and serves for one change.
    """

    thread: str
    lease: Lease
    stands: Kept | None = None
    known: Known = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)

    def forget(self) -> None:
        """Read again what stands."""
        self.stands, self.known, self.newest = None, {}, {}


def still_held(cursor: sqlite3.Cursor, hold: Hold) -> bool:
    """Whether a hold that may have lapsed is one still."""
    found = kept(cursor, hold.thread)
    return found is not None and found.lease[:2] == hold.lease[:2]


def row_digest(sealer: Sealer, row: Row) -> int:
    """The digest of a checkpoint's row."""
    return sealer.of("checkpoint", *row)


def step_seal(sealer: Sealer, place: Place, step: Step) -> int:
    """The seal of what stands of a checkpoint beside its row."""
    digests = b"%x %x" % (step.digest, step.sum)
    return sealer.of("step", *place, step.about, step.writes, digests)


def write_digest(sealer: Sealer, place: Place, write: Write) -> int:
    """The digest of one pending write."""
    return sealer.of("write", *place, *write)


def kept(cursor: sqlite3.Cursor, thread: str) -> Kept | None:
    """What stands of a thread; None of one that nobody wrote to."""
    found = cursor.execute(HEAD, (thread,)).fetchone()
    if found is None:
        return None
    sequence, rows, sum_, digest, *holds = found
    return Kept(Head(sequence, rows, read(sum_)), digest, _lease(*holds))


def _lease(epoch: Any, holder: Any, expires: Any) -> Lease:
    """Who holds a thread is under no seal: what cannot be a lease is none, and whoever held it is overtaken."""
    if isinstance(epoch, int) and isinstance(holder, str) and isinstance(expires, float) and abs(epoch) < LAST:
        return Lease(epoch, holder, expires)
    return FREE


def step(cursor: sqlite3.Cursor, place: Place) -> Step | None:
    """What stands of a checkpoint beside its row."""
    found = cursor.execute(STEP, place).fetchone()
    return None if found is None else read_step(found)


def newest(cursor: sqlite3.Cursor, thread: str, namespace: str) -> str:
    """The newest step. Writes may come before the checkpoint that they belong to: that is none yet."""
    found = cursor.execute(NEWEST, (thread, namespace, stored(0))).fetchone()
    return found[0] if found else ""


def read_step(found: Sequence[Any]) -> Step:
    """A step of its columns."""
    about, digest, writes, total, seal = found
    return Step(about, read(digest), writes, read(total), read(seal))


class Change:
    """Rows of one thread on their way into a transaction; sums follow every row."""

    def __init__(self, cursor: sqlite3.Cursor, sealer: Sealer, hold: Hold, stands: Kept) -> None:
        self.cursor, self.sealer, self.thread, self.known = cursor, sealer, hold.thread, hold.known
        self._newest = hold.newest
        self._changed: dict[Place, Step] = {}  # steps that are written at the end, once each
        self.before, self.rows, self.sum = stands, stands.head.rows, stands.head.sum
        self.lease = stands.lease

    def put(self, row: Row, about: str) -> None:
        """Write a checkpoint, or write one anew."""
        old, digest = self._step(row.place), row_digest(self.sealer, row)
        new = Step(about, digest, old.writes, old.sum, old.seal, old.tasks) if old else Step(about, digest)
        self.cursor.execute(PUT, row)
        self._seal(row.place, new, rows=0 if old else 1)
        self._keep(row.place, new)
        self._newest[row.namespace] = max(row.id, self.newest(row.namespace))

    def newest(self, namespace: str) -> str:
        """The newest step of a namespace; empty where there is none."""
        if namespace not in self._newest:
            self._newest[namespace] = newest(self.cursor, self.thread, namespace)
        return self._newest[namespace]

    def put_writes(self, place: Place, writes: Sequence[Write], *, replaces: bool) -> None:
        """Write what a task brought. What stands there already stays, unless the new one `replaces` it."""
        step = self._step(place)
        if step is None:
            step = Step("{}")
        had = self._had(place, step, writes[0][0] if writes else "")
        new = [w for w in writes if replaces or w[5] not in had]
        more = sum(w[5] not in had for w in new)
        change = sum(write_digest(self.sealer, place, w) for w in new)
        change -= sum(write_digest(self.sealer, place, had[w[5]]) for w in new if w[5] in had)
        self.cursor.executemany(PUT_WRITE, [(*w, *place) for w in new])
        step.writes, step.sum = step.writes + more, (step.sum + change) % WHOLE
        self._seal(place, step, rows=more)
        step.tasks.update(w[0] for w in writes)

    def adopt(self, row: Row, about: str, writes: Sequence[Write]) -> None:
        """Seal what stands there already."""
        total = sum(write_digest(self.sealer, row.place, w) for w in writes) % WHOLE
        step = Step(about, row_digest(self.sealer, row), len(writes), total)
        self._seal(row.place, step, rows=1 + len(writes))

    def remove(self, place: Place) -> None:
        """Take a checkpoint away, with its writes."""
        old = self._step(place)
        self._changed.pop(place, None)
        for table in ("checkpoints", "writes", "steps"):
            self.cursor.execute(f"DELETE FROM {table} WHERE {HERE}", place)
        self.known.pop(place, None)
        self._newest.clear()
        if old is not None:
            self.rows, self.sum = self.rows - 1 - old.writes, self.sum - old.seal

    def clear(self) -> None:
        """Take the whole thread away."""
        for table in ("checkpoints", "writes", "steps"):
            self.cursor.execute(f"DELETE FROM {table} WHERE thread_id = ?", (self.thread,))
        self.known.clear()
        self._newest.clear()
        self._changed.clear()
        self.rows, self.sum = 0, 0

    def close(self) -> Kept:
        """Write seals and head; nothing of the thread may change after it. Raises OvertakenError when others did."""
        for place, step in self._changed.items():
            old, step.seal = step.seal, step_seal(self.sealer, place, step)
            digests = stored(step.digest), step.writes, stored(step.sum), stored(step.seal)
            self.cursor.execute(MOVE_STEP if old else PUT_STEP, (step.about, *digests, *place))
            self.sum += step.seal - old
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
        here = self._changed.get(place) or self.known.get(place)
        found = here or step(self.cursor, place)
        if found is not None and here is None and step_seal(self.sealer, place, found) != found.seal:
            raise IntegrityError(f"thread {place[0]!r} was changed at step ({place[2]}): its seal does not fit; {MEND}")
        return found

    def _had(self, place: Place, step: Step, task: str) -> dict[int, Write]:
        """What a task brought before. Of a step that was made under this hold, its tasks are known."""
        if place in self.known and task not in step.tasks:
            return {}
        query = WRITES + " AND task_id = ?"
        return {found[5]: found for found in self.cursor.execute(query, (*place, task)).fetchall()}

    def _seal(self, place: Place, step: Step, *, rows: int) -> None:
        """See that what stands beside a row is written; `rows` are new."""
        self._changed[place] = step
        self.rows += rows

    def _keep(self, place: Place, step: Step) -> None:
        self.known[place] = step
        while len(self.known) > AT_WORK:
            del self.known[next(iter(self.known))]


def new_head(cursor: sqlite3.Cursor, sealer: Sealer, thread: str, lease: Lease) -> None:
    """Write the head of a thread that has no rows yet."""
    head = Head(1)
    cursor.execute(PUT_HEAD, (head.sequence, 0, stored(0), sealer.head(thread, head), *lease, thread))
