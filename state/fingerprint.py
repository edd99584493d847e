"""What a thread depends on in the code that wrote it, and what follows when that has changed.

Two kinds of parts: the *wiring* (nodes, keys with their reducers, schemas, agents, tools), of which a change
may make saved work unusable, and the *voice* (prompts and models), of which a change makes answers differ.
What the body of a function does is no part: its name is.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

Parts = dict[str, dict[str, str]]
"""By nested graph ("node|node", the graph itself under ""), then by what a part is.

Parts are called "node draft", "key results", "input", "agent clerk"; those of an agent "agent clerk: tool send".
"""

LASTS = "lasts, "  # begins what is said of a key that the next turn goes on with


@dataclass(frozen=True, slots=True)
class Code:
    """The parts of a graph, with those of the graphs inside it."""

    wiring: Parts
    voice: Parts


class Change(NamedTuple):
    """One part that is not what it was: `was` or `now` is None where there is none."""

    inside: str
    part: str
    was: str | None
    now: str | None

    @property
    def kind(self) -> str:
        """What it is: node, key, agent, or what of an agent: output, tool, …"""
        return self.part.rpartition(": ")[2].split(" ")[0]

    @property
    def name(self) -> str:
        """Which one it is."""
        return self.part.rpartition(" ")[2]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What forbids to go on, and what is only to be said, each in words."""

    refused: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)


def changes(was: Parts, now: Parts) -> Iterator[Change]:
    """Every part that differs, the outermost graph's first; of an agent that is gone or new, not each part of it."""
    for inside in sorted({*was, *now}):
        old, new = was.get(inside, {}), now.get(inside, {})
        for part in sorted({*old, *new}):
            whole, of, _ = part.partition(": ")
            if old.get(part) != new.get(part) and not (of and (whole in old) != (whole in new)):
                yield Change(inside, part, old.get(part), new.get(part))


def verdict(was: Code, now: Code, working: Mapping[str, Set[str]] | None) -> Verdict:
    """Whether a thread may go on. `working` has the graphs whose turn is not over, and the nodes each waits for.

    None says that the turn is over: then only what lasts from turn to turn matters.
    """
    found, wired = Verdict(), list(changes(was.wiring, now.wiring))
    for change in wired:
        if working is None:
            matters = None if change.inside else _matters_later(change)  # what is nested begins anew every turn
        elif change.inside in working:
            matters = _matters_now(change, working[change.inside])
        else:
            matters = None  # nothing was begun there, or it is over
        if matters is not None:
            (found.refused if matters else found.warned).append(said(change, wired))
    if working is not None:
        gone = {(c.inside, c.part) for c in wired if c.kind == "agent"}
        spoken = (c for c in changes(was.voice, now.voice) if c.inside in working)
        found.warned.extend(said(c) for c in spoken if (c.inside, c.part.partition(": ")[0]) not in gone)
    return found


def _matters_now(change: Change, awaited: Set[str]) -> bool:
    """Whether a change makes an unfinished turn unusable, where something is to be said of it."""
    if change.was is None:
        return False  # what is new was not there when the work began
    if change.kind == "node":
        return change.name in awaited
    if change.part == "input":
        return "__start__" in awaited
    return change.part != "output" and change.kind != "input"  # what is done with those is still to come


def _matters_later(change: Change) -> bool | None:
    if change.kind != "key" or change.was is None or not change.was.startswith(LASTS):
        return None
    return change.now is not None


def said(change: Change, among: Iterable[Change] = ()) -> str:
    """A change in words; of what is gone, with what is new of its kind: it may have been renamed."""
    where = f" inside {change.inside}" if change.inside else ""
    if change.was is None:
        return f"{change.part} is new{where}"
    if change.now is None:
        new = [c.name for c in among if (c.inside, c.kind) == (change.inside, change.kind) and c.was is None]
        return f"{change.part} is gone{where}" + (f" (new: {', '.join(new)})" if new else "")
    if _is_digest(change.was):
        return f"{change.part} changed{where}"
    return f"{change.part} changed{where} (was {change.was.removeprefix(LASTS)}; is {change.now.removeprefix(LASTS)})"


def _is_digest(text: str) -> bool:
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)
