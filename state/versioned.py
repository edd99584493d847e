"""Versioned values: shared by many, changed only by who has read them as they are now.

Shared values are plain data that can stand in a channel: a mapping of key to `Value`. A key that nobody
has written has version 0. A change is one or several writes that hold together: it succeeds when every
write expects the version that is there, and has no effect otherwise (optimistic concurrency, Kung and
Robinson 1981). Ground truth is shared values with one owner: others propose, the owner decides.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from state.errors import InputError


class Value(TypedDict):
    """What stands under a key. `by` wrote it, `kind` is its type in words, `evidence` what it rests on."""

    value: Any
    version: int
    by: str
    kind: str
    evidence: list[str]


class Write(TypedDict):
    """A new value for a key that was read at version `expected`."""

    key: str
    expected: int
    value: Any
    by: str
    kind: NotRequired[str]
    evidence: NotRequired[list[str]]


Shared = Mapping[str, Value]


class Proposal(TypedDict):
    """A write that somebody who is not the owner would like, and what the owner said to it, and why."""

    write: Write
    status: Literal["open", "accepted", "rejected"]
    why: str


class Truth(TypedDict):
    """Shared values with one owner, and everything that was ever proposed, by number."""

    owner: str
    values: dict[str, Value]
    proposals: list[Proposal]


def version(shared: Shared, key: str) -> int:
    """The version of a key; 0 where nobody wrote it."""
    return shared[key]["version"] if key in shared else 0


def stale(shared: Shared, writes: Iterable[Write]) -> list[str]:
    """The keys that have another version than their write expects."""
    return [w["key"] for w in writes if w["expected"] != version(shared, w["key"])]


def compare_and_set(shared: Shared, *writes: Write) -> dict[str, Value] | None:
    """The values after a change, all of its writes or none; None when it lost.

    Raises InputError for two writes to one key: which of them is meant cannot be told.
    """
    keys = [w["key"] for w in writes]
    if twice := sorted({k for k in keys if keys.count(k) > 1}):
        raise InputError(f"one change writes {', '.join(twice)} twice; give one value for each key")
    if stale(shared, writes):
        return None
    return {**shared, **{w["key"]: _written(w) for w in writes}}


def in_turn(shared: Shared, changes: Iterable[Sequence[Write]]) -> tuple[dict[str, Value], list[bool]]:
    """Concurrent changes, one after the other, and which of them won: of those to one key, the first."""
    now, won = dict(shared), []
    for change in changes:
        after = compare_and_set(now, *change)
        won.append(after is not None)
        now = now if after is None else after
    return now, won


def backoff(tries: int, *, most: int, seed: object, base: float = 1.0, cap: float = 32.0) -> float | None:
    """How long who lost `tries` times (1 or more) waits before reading again; None when it has tried enough.

    Exponential with full jitter, in units of `base`: from 0 to `base` x 2 ** (tries - 1), at most to
    `cap`. `seed` must differ from loser to loser, or they meet again; the same one waits the same. After
    `most` tries beside the first the conflict is for somebody else to resolve.
    """
    if tries > most:
        return None
    return random.Random(f"{seed}/{tries}").uniform(0, min(cap, base * 2.0 ** min(tries - 1, 64)))


def owned(owner: str, values: Shared | None = None) -> Truth:
    """Ground truth of one owner, with nothing proposed yet."""
    return {"owner": owner, "values": dict(values or {}), "proposals": []}


def write(truth: Truth, *writes: Write) -> tuple[Truth, str]:
    """The owner's own change, and why it was refused: empty when it was made."""
    strangers = sorted({w["by"] for w in writes} - {truth["owner"]})
    if strangers:
        return truth, f"{', '.join(strangers)} may not write: {truth['owner']} owns this; propose it instead"
    after = compare_and_set(truth["values"], *writes)
    if after is None:
        return truth, f"another version is there of {', '.join(stale(truth['values'], writes))}; read again"
    return {**truth, "values": after}, ""


def propose(truth: Truth, wanted: Write) -> Truth:
    """Ground truth with one more open proposal, the last; nothing else changes."""
    return {**truth, "proposals": [*truth["proposals"], {"write": wanted, "status": "open", "why": ""}]}


def decide(truth: Truth, number: int, *, by: str, accept: bool, why: str = "") -> tuple[Truth, str]:
    """What the owner says to a proposal, and why that was refused: empty when it stands.

    An accepted proposal is written in its proposer's name. One whose value has changed since it was
    made cannot be accepted: it stays open, to be rejected or proposed anew.
    """
    known = 0 <= number < len(truth["proposals"])
    if by != truth["owner"]:
        return truth, f"{by} may not decide: {truth['owner']} owns this"
    if not known or truth["proposals"][number]["status"] != "open":
        return truth, f"proposal {number} is {truth['proposals'][number]['status'] if known else 'unknown'}"
    wanted = truth["proposals"][number]["write"]
    after = compare_and_set(truth["values"], wanted) if accept else truth["values"]
    if after is None:
        return truth, f"{wanted['key']} has changed since it was proposed; reject it, or have it proposed anew"
    decided: Proposal = {"write": wanted, "status": "accepted" if accept else "rejected", "why": why}
    proposals = [decided if n == number else p for n, p in enumerate(truth["proposals"])]
    return {**truth, "values": dict(after), "proposals": proposals}, ""


def _written(one: Write) -> Value:
    return {
        "value": one["value"],
        "version": one["expected"] + 1,
        "by": one["by"],
        "kind": one.get("kind") or type(one["value"]).__name__,
        "evidence": list(one.get("evidence") or ()),
    }
