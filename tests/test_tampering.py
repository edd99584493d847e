"""Whatever is changed in a database behind the saver's back is refused when it is read, and found by `verify`."""

import pickle
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import ormsgpack
import pytest
from makers import MAKERS, scripted

from motet.session import Session
from runtime.persistence import open_persistence
from runtime.rows import ROW, Row
from runtime.saver import Saver
from runtime.sync import Graph
from runtime.travel import at
from state.errors import IntegrityError, MotetError, StorageError

STEP = ("thread_id", "checkpoint_ns", "checkpoint_id")
SEALED = {
    "checkpoints": (*STEP, "parent_checkpoint_id", "type", "checkpoint", "metadata"),
    "writes": (*STEP, "task_id", "task_path", "idx", "channel", "type", "value"),
    "steps": (*STEP, "about", "digest", "writes", "sum", "seal"),
    "heads": ("thread_id", "sequence", "rows", "sum", "digest"),
    "books": ("prefix", "head"),
    "store": ("prefix", "key", "value"),
}
KEYS = {
    "checkpoints": STEP,
    "writes": (*STEP, "task_id", "idx"),
    "steps": STEP,
    "heads": ("thread_id",),
    "books": ("prefix",),
    "store": ("prefix", "key"),
}


def graph() -> Graph:
    return MAKERS["concurrent"](scripted("worker", "the answer"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with two turns on the thread "t" and one on "u", and the key under which it was sealed."""
    folder = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MOTET_KEY", "the key of these tests, long enough")
        home = open_persistence(f"sqlite:///{folder / 'threads.db'}")
        for thread in ("t", "t", "u"):
            home.bind(graph()).invoke({"task": "go"}, at(thread), durability="sync")
        home.close()
    return folder / "threads.db"


@pytest.fixture(autouse=True)
def known_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_KEY", "the key of these tests, long enough")


class Copy:
    """A copy of the database that can be changed behind the saver's back."""

    def __init__(self, original: Path, folder: Path) -> None:
        self.path = folder / "copy.db"
        for old in folder.glob("copy.db*"):
            old.unlink()
        shutil.copy(original, self.path)
        self.conn = sqlite3.connect(self.path)
        self.conn.text_factory = bytes

    def all(self, table: str) -> list[int]:
        key = ", ".join(KEYS[table])
        return self.conn.execute(f"SELECT {key} FROM {table} ORDER BY {key}").fetchall()

    def change(self, table: str, key: tuple[Any, ...], sql: str, *values: Any) -> None:
        where = " AND ".join(f"CAST({name} AS BLOB) = CAST(? AS BLOB)" for name in KEYS[table])
        self.conn.execute(f"{sql} WHERE {where}", (*values, *key))

    def value(self, table: str, key: tuple[Any, ...], column: str) -> Any:
        where = " AND ".join(f"CAST({name} AS BLOB) = CAST(? AS BLOB)" for name in KEYS[table])
        return self.conn.execute(f"SELECT {column} FROM {table} WHERE {where}", key).fetchone()[0]

    def kind(self, table: str, column: str) -> str:
        query = f"SELECT typeof({column}) FROM {table} WHERE {column} IS NOT NULL LIMIT 1"
        found: bytes = self.conn.execute(query).fetchone()[0]
        return found.decode()

    def dump(self) -> list[Any]:
        return [self.conn.execute(f"SELECT * FROM {table}").fetchall() for table in SEALED]

    def done(self) -> None:
        self.conn.commit()
        self.conn.close()


def flip(dice: random.Random, copy: Copy) -> str:
    """One bit of one column of one row."""
    table = dice.choice([t for t in SEALED if copy.all(t)])
    key, column = dice.choice(copy.all(table)), dice.choice(SEALED[table])
    old = copy.value(table, key, column)
    if old is None or old == b"":
        return ""
    if isinstance(old, int):
        copy.change(table, key, f"UPDATE OR IGNORE {table} SET {column} = ?", old ^ (1 << dice.randrange(40)))
    else:
        bit = dice.randrange(8 * len(old))
        new = bytes(b ^ (1 << (bit % 8)) if n == bit // 8 else b for n, b in enumerate(old))
        kind = copy.kind(table, column)
        copy.change(table, key, f"UPDATE OR IGNORE {table} SET {column} = CAST(? AS {kind})", new)
    return f"flip in {table}.{column}"


def swap(dice: random.Random, copy: Copy) -> str:
    """The contents of two rows, of whatever thread or step."""
    table, columns = dice.choice(
        [
            ("checkpoints", ("type", "checkpoint", "metadata")),
            ("checkpoints", ("checkpoint",)),
            ("writes", ("type", "value")),
            ("steps", ("about", "digest", "writes", "sum", "seal")),
            ("steps", ("about",)),
            ("store", ("value",)),
            ("books", ("head",)),
            ("heads", ("sequence", "rows", "sum", "digest")),
        ]
    )
    a, b = dice.sample(copy.all(table), 2)
    first, second = ([copy.value(table, key, c) for c in columns] for key in (a, b))
    kinds = [copy.kind(table, c) for c in columns]
    sets = ", ".join(f"{c} = CAST(? AS {kind})" for c, kind in zip(columns, kinds, strict=True))
    copy.change(table, a, f"UPDATE {table} SET {sets}", *second)
    copy.change(table, b, f"UPDATE {table} SET {sets}", *first)
    return f"swap in {table}.{columns}"


def delete(dice: random.Random, copy: Copy) -> str:
    """One row of one table; of the store, one of a book: other values may go at any time."""
    table = dice.choice([t for t in SEALED if copy.all(t)])
    keys = [key for key in copy.all(table) if table != "store" or key[0].startswith(b"book.")]
    copy.change(table, dice.choice(keys), f"DELETE FROM {table}")
    return f"delete in {table}"


def take_step(dice: random.Random, copy: Copy) -> str:
    """A step with its checkpoint, its writes and its seal."""
    key = dice.choice(copy.all("steps"))
    for table in ("steps", "checkpoints", "writes"):
        sql = f"DELETE FROM {table} WHERE thread_id = CAST(? AS TEXT) AND checkpoint_ns = CAST(? AS TEXT)"
        copy.conn.execute(f"{sql} AND checkpoint_id = CAST(? AS TEXT)", key)
    return "a whole step"


def cut(dice: random.Random, copy: Copy) -> str:
    """The newest steps of a thread, with all that belongs to them."""
    ids = sorted({key[2] for key in copy.all("steps") if key[0] == b"t"})
    since = ids[-dice.randint(1, len(ids) - 1)]
    for table in ("steps", "checkpoints", "writes"):
        copy.conn.execute(f"DELETE FROM {table} WHERE thread_id = 't' AND checkpoint_id >= CAST(? AS TEXT)", (since,))
    return "the newest steps"


def cut_book(dice: random.Random, copy: Copy) -> str:
    """The newest records of a turn."""
    keys = [key for key in copy.all("store") if key[0].startswith(b"book.t.")]
    copy.change("store", keys[-1], "DELETE FROM store")
    return "the newest record"


def move(dice: random.Random, copy: Copy) -> str:
    """A write from one step to another."""
    a, b = dice.sample(copy.all("writes"), 2)
    copy.change("writes", a, "UPDATE OR IGNORE writes SET checkpoint_id = CAST(? AS TEXT)", b[2])
    return "move of a write"


async def refusal(session: Session, thread: str, values: Any) -> str | None:
    """What is said to whoever reads a thread; what they read is what was saved."""
    try:
        found = await session.home.bind(graph()).aget_state(at(thread))
    except IntegrityError as error:
        return str(error)
    assert found.values == values
    return None


async def check(original: Path, folder: Path, seed: int, whole: Any) -> bool:
    """One random change: what reads it refuses by name or gives what was saved, and `verify` finds it."""
    dice, copy = random.Random(seed), Copy(original, folder)
    before = copy.dump()
    what = dice.choice([flip] * 6 + [swap, swap, delete, take_step, cut, cut_book, move])(dice, copy)
    changed = copy.dump() != before
    copy.done()
    if not changed:
        return False
    with Session(f"sqlite:///{copy.path}") as session:
        for thread, values in whole.items():
            said = await refusal(session, thread, values)
            assert said is None or "thread" in said, (what, said)
        faults = await session.verify()
        assert faults, what
        assert all("thread" in fault or "kept under" in fault for fault in faults), (what, faults)
    return True


@pytest.fixture
async def whole(original: Path) -> dict[str, Any]:
    home = open_persistence(f"sqlite:///{original}")
    found = {thread: (await home.bind(graph()).aget_state(at(thread))).values for thread in ("t", "u")}
    with Session(f"sqlite:///{original}") as session:
        assert await session.verify() == []
    home.close()
    return found


async def test_any_random_change_is_refused_or_found(original: Path, whole: Any, tmp_path: Path) -> None:
    assert sum([await check(original, tmp_path, seed, whole) for seed in range(60)]) > 50


@pytest.mark.slow
async def test_a_thousand_random_changes_are_refused_or_found(original: Path, whole: Any, tmp_path: Path) -> None:
    assert sum([await check(original, tmp_path, seed, whole) for seed in range(1000, 2100)]) >= 1000


async def test_a_log_that_was_cut_off_is_refused_with_the_step_that_is_left(original: Path, tmp_path: Path) -> None:
    copy = Copy(original, tmp_path)
    cut(random.Random(1), copy)
    copy.done()
    home = open_persistence(f"sqlite:///{copy.path}")
    with pytest.raises(IntegrityError, match=r"'t' has not the steps .*the newest that is left is step -?\d+ \("):
        await home.saver.aget_tuple(at("t"))
    with pytest.raises(IntegrityError):
        await home.bind(graph()).ainvoke({"task": "on"}, at("t"))
    assert (await home.bind(graph()).aget_state(at("u"))).values["outcome"] == "completed"
    home.close()


async def test_what_changes_while_a_process_has_it_open_is_refused_too(original: Path, tmp_path: Path) -> None:
    copy = Copy(original, tmp_path)
    home = open_persistence(f"sqlite:///{copy.path}")
    assert await home.saver.aget_tuple(at("t"))
    cut(random.Random(1), copy)
    copy.done()
    with pytest.raises(IntegrityError):
        await home.saver.aget_tuple(at("t"))
    home.close()


async def test_a_record_that_was_taken_away_does_not_let_its_call_be_made_again(original: Path, tmp_path: Path) -> None:
    copy = Copy(original, tmp_path)
    cut_book(random.Random(1), copy)
    copy.done()
    with Session(f"sqlite:///{copy.path}") as session:
        (fault,) = await session.verify()
        assert "the record book of thread 't' (main, turn-0000" in fault
        with pytest.raises(IntegrityError, match="has not the records that its head counts"):
            await session._records("t", await session.home.bind(graph()).aget_state(at("t")))


@pytest.mark.parametrize(("version", "said"), [(0, "version of the database's tables"), (1, "version"), (7, "newer")])
def test_the_version_of_the_tables_cannot_be_set_back_to_have_changes_sealed(
    version: int, said: str, original: Path, tmp_path: Path
) -> None:
    copy = Copy(original, tmp_path)
    copy.conn.execute("DELETE FROM writes")
    copy.conn.execute(f"PRAGMA user_version = {version}")
    copy.done()
    with pytest.raises(StorageError, match=said):
        open_persistence(f"sqlite:///{copy.path}")


# Forged payloads


def ext(code: int, *parts: Any) -> tuple[str, bytes]:
    return "msgpack", ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))


class Boom:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return open, (self.marker, "w")


def lc(marker: str, *path: str, version: int = 2, **more: Any) -> tuple[str, bytes]:
    said = {"lc": version, "type": "constructor", "id": [*path], "args": [marker, "w"], "kwargs": {}, **more}
    return "json", orjson.dumps(said)


FORGED = {
    "constructor with one argument": lambda m: ext(0, "os", "mkdir", m),
    "constructor with arguments": lambda m: ext(1, "builtins", "open", [m, "w"]),
    "constructor with names": lambda m: ext(2, "builtins", "open", {"file": m, "mode": "w"}),
    "method": lambda m: ext(3, "os", "path", m, "exists"),
    "method of a class": lambda m: ext(3, "pathlib", "Path", m, "touch"),
    "old pydantic": lambda m: ext(4, "builtins", "open", {"file": m, "mode": "w"}),
    "pydantic": lambda m: ext(5, "builtins", "open", {"file": m, "mode": "w"}, "model_validate_json"),
    "evaluation": lambda m: ext(0, "builtins", "eval", f"open({m!r}, 'w')"),
    "shell": lambda m: ext(0, "subprocess", "getoutput", f"touch {m}"),
    "in a snapshot": lambda m: ("msgpack", ormsgpack.packb(ormsgpack.Ext(7, ext(0, "os", "mkdir", m)[1]))),
    "pickle": lambda m: ("pickle", pickle.dumps(Boom(m))),
    "json constructor": lambda m: lc(m, "builtins", "open"),
    "json method": lambda m: lc(m, "pathlib", "Path", method=["touch"]),
    "langchain constructor": lambda m: lc(m, "langchain_core", "prompts", "loading", "load_prompt", version=1),
}


@pytest.mark.parametrize("key_known", [False, True])
@pytest.mark.parametrize("forged", FORGED)
async def test_a_forged_payload_executes_nothing(forged: str, key_known: bool, original: Path, tmp_path: Path) -> None:
    copy, marker = Copy(original, tmp_path), tmp_path / "executed"
    copy.done()
    type_, blob = FORGED[forged](str(marker))
    home = open_persistence(f"sqlite:///{copy.path}")
    assert isinstance(home.saver, Saver)
    with home.saver.cursor(transaction=False) as cursor:
        row = Row(*cursor.execute(f"{ROW} WHERE thread_id = 't' ORDER BY checkpoint_id DESC LIMIT 1").fetchone())
    if key_known:
        with home.saver.changing("t") as (change,):
            change.put(row._replace(type=type_, checkpoint=blob), "{}")
    else:
        with sqlite3.connect(copy.path) as conn:
            sql = "UPDATE checkpoints SET type = ?, checkpoint = ? WHERE checkpoint_id = ?"
            conn.execute(sql, (type_, blob, row.id))
    try:
        found = await home.saver.aget_tuple(at("t"))
        assert key_known
        assert not callable(found)
        await home.bind(graph()).aget_state(at("t"))
    except IntegrityError:
        assert not key_known
    except (MotetError, NotImplementedError, TypeError, AttributeError, ValueError, KeyError):
        assert key_known
    assert not marker.exists()
    home.close()


async def test_what_was_saved_before_the_seals_is_sealed_once_and_keeps_its_history(
    original: Path, tmp_path: Path
) -> None:
    copy = Copy(original, tmp_path)
    for table in ("heads", "steps", "books"):
        copy.conn.execute(f"DROP TABLE {table}")
    for prefix, key, value in copy.conn.execute("SELECT prefix, key, value FROM store").fetchall():
        bare = {k: v for k, v in orjson.loads(value).items() if k != "__seal"}
        copy.change("store", (prefix, key), "UPDATE store SET value = ?", orjson.dumps(bare))
    copy.conn.execute("PRAGMA user_version = 0")
    copy.done()
    with closing(open_persistence(f"sqlite:///{copy.path}")) as home, Session(f"sqlite:///{copy.path}") as session:
        assert await session.verify() == []
        steps = await home.saver.ahistory("t")
        assert (steps[0].turn, steps[0].outcome, steps[0].next) == (2, "completed", ())
        again = await home.bind(graph()).ainvoke({"task": "more"}, at("t"))
        assert again["outcome"] == "completed"
