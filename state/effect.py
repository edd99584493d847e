"""What the book's records say of one call of a tool: whether it may run, has run, or may have run."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from state.record import Record
from state.tool import Effects

Standing = Literal["new", "known", "unkept", "doubtful", "taken"]

ENDED = ("completed", "failed", "rejected")  # outcomes that say what became of the effect; "failed" says: nothing
UNKNOWN = "unknown"  # the outcome of a call that ended without saying whether it took effect


class Doubt(TypedDict):
    """A call that cannot be undone, was begun, and has no result.

    `attempt` is how often it was begun, `began` when it was last (ISO 8601, UTC), `why` what is known of
    its end. `decision` and `by` are there once somebody has said what to do about this very attempt.
    """

    name: str
    args: Any
    key: str
    attempt: int
    began: str
    why: str
    decision: NotRequired[dict[str, Any]]
    by: NotRequired[str]


def result_of(attempts: Sequence[Record], digest: str) -> dict[str, Any] | None:
    """The result that the book has of a call: of the newest attempt with these arguments that ended."""
    for record in reversed(attempts):
        if record["digest"] == digest and record["outcome"] in ENDED and "content" in record:
            return dict(record["content"])
    return None


def standing(attempts: Sequence[Record], digest: str, effects: Effects) -> Standing:
    """How a call stands, by all attempts under its key, first to last.

    `known`: it ended, with this result. `taken`: the key belongs to a call with other arguments.
    `unkept`: it took effect, but its result is not kept. `doubtful`: it was begun, cannot be undone, and
    may have taken effect. `new`: it may run, also where running it twice is running it once.
    """
    if result_of(attempts, digest) is not None:
        return "known"
    if effects != "none" and any(r["digest"] != digest and r["outcome"] != "failed" for r in attempts):
        return "taken"
    mine = [r["outcome"] for r in attempts if r["digest"] == digest]
    if effects != "irreversible" or not mine:
        return "new"
    if "completed" in mine:
        return "unkept"
    return "new" if mine[-1] == "failed" else "doubtful"


def undecided(doubts: Mapping[str, Doubt] | None) -> dict[str, Doubt]:
    """The doubts about which nobody has said what to do."""
    return {visit: doubt for visit, doubt in (doubts or {}).items() if "decision" not in doubt}
