"""Two runs by their names, held against each other: THREAD, THREAD@BRANCH or THREAD@STEP."""

from collections.abc import Sequence
from dataclasses import dataclass

from motet.load import load
from motet.register import Register
from runtime.book import Book
from runtime.history import Shown
from runtime.persistence import Persistence
from runtime.steps import steps
from runtime.sync import Graph
from runtime.travel import at
from state.comparison import Comparison, Step, compared
from state.errors import InputError, ThreadError
from state.record import Record


@dataclass(frozen=True, slots=True)
class Place:
    """A step of the outermost graph of a thread, and the turn that it belongs to."""

    thread: str
    pattern: str
    graph: Graph
    step: str
    branch: str
    turn: int


@dataclass(frozen=True, slots=True)
class Differs:
    """Two runs by name, and how they differ."""

    a: str
    b: str
    found: Comparison


async def difference(home: Persistence, one: str, other: str = "") -> Differs:
    """Hold two runs against each other; with one name, a branch against what it was forked from.

    Raises ThreadError for an unknown thread, branch or step, and InputError where a second name is needed.
    """
    b = await place(home, other or one)
    a = await place(home, one) if other else await _origin(home, b)
    both = [(await taken(home, p), await booked(home, p)) for p in (a, b)]
    found = compared(both[0][0], both[1][0], (both[0][1], both[1][1]))
    return Differs(_name(a), _name(b), found)


async def place(home: Persistence, name: str) -> Place:
    """The place that a name means. A thread's own name may have an @ in it."""
    register = Register(home.store)
    thread, is_, where = name, "", ""
    if await register.find(name) is None and "@" in name:
        thread, is_, where = name.rpartition("@")
    about = await register.known(thread)
    history = await home.saver.ahistory(thread)
    found = next((s for s in history if not is_ or where in (s.id, s.branch) or where == str(s.step)), None)
    if found is None:
        branches = ", ".join(dict.fromkeys(s.branch for s in history))
        raise ThreadError(
            f"thread {thread!r} has no branch or step {where!r}: its branches are {branches}; its steps are listed by: "
            f"motet history {thread}"
        )
    return await _at(home, found, about.name)


async def taken(home: Persistence, place: Place) -> list[Step]:
    """The steps of a place's turn, up to it."""
    return await steps(place.graph, place.thread, place.step)


async def booked(home: Persistence, place: Place) -> list[Record]:
    """What the book holds of a place's turn."""
    return (await Book(home.store, thread=place.thread, branch=place.branch, turn=place.turn).load()).records()


async def _origin(home: Persistence, place: Place) -> Place:
    origin = place.branch.rpartition("-")[0]
    if not origin:
        raise InputError(
            f"thread {place.thread!r} was not forked: name what it is to be compared with, as THREAD, THREAD@BRANCH or "
            "THREAD@STEP"
        )
    history: Sequence[Shown] = await home.saver.ahistory(place.thread)
    found = next((s for s in history if s.branch == origin and s.turn == place.turn), None)
    if found is None:
        raise ThreadError(f"branch {origin!r} of thread {place.thread!r} has no step of turn {place.turn} left")
    return await _at(home, found, place.pattern)


async def _at(home: Persistence, found: Shown, pattern: str) -> Place:
    graph: Graph = home.bind(load(pattern))
    values = (await graph.aget_state(at(found.thread, found.id))).values
    branch, turn = values.get("branch") or "main", values.get("turn") or 0
    return Place(found.thread, pattern, graph, found.id, branch, turn)


def _name(place: Place) -> str:
    return f"{place.thread}@{place.branch}"
