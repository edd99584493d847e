"""Who said what to whom in a run: a fold over the book."""

from collections.abc import Iterable
from dataclasses import dataclass

from state.record import Record

CALLS = ("model", "function", "graph", "human")


@dataclass(frozen=True, slots=True)
class Said:
    """One message. `at` is in seconds since the epoch; an `answer` goes back to who asked."""

    at: float
    sender: str
    recipient: str
    what: str
    answer: bool = False


def sequence(records: Iterable[Record], root: str) -> list[Said]:
    """All messages of a run in order of time: calls and their answers, tools, and what peers sent each other.

    `root` is who calls at the top: the pattern. What an agent's own loop asks its model is not told.
    """
    book = list(records)
    inside = {f"{r['path']}/{r['visit']}".strip("/"): r["agent"] for r in book if r["kind"] == "graph"}
    out: list[Said] = []
    for r in book:
        caller, done = inside.get(r["path"], root), r["at"] + r["latency_ms"] / 1000
        if r["kind"] == "message":
            out.append(Said(r["at"], r["agent"], r["to"], r["says"]))
        elif r["kind"] == "tool":
            out.append(Said(r["at"], r["agent"], r.get("tool") or "tool", r["outcome"] or "cut off"))
        elif r["kind"] in CALLS and caller != r["agent"]:
            out.append(Said(r["at"], caller, r["agent"], r["visit"]))
            if r["outcome"]:
                out.append(Said(done, r["agent"], caller, r["outcome"], answer=True))
    return sorted(out, key=lambda said: said.at)
