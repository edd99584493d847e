"""What all nested graphs of one run share: its book, its ledger, its limit on concurrency.

It is found through the run's control object, which LangGraph hands to every nested graph; a run
that is resumed in another process rebuilds it from the book.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.pregel._read import ChannelRead  # the engine's own way to read a channel from a task
from langgraph.runtime import Runtime
from pydantic import ValidationError

from runtime.book import Book
from runtime.ledger import Ledger
from runtime.replay import recording
from runtime.veil import HERE, VEILED
from state.budget import Limit, tighter
from state.context import Context
from state.errors import BudgetError, InputError
from state.record import spent
from state.turn import explain

KEPT = 256  # runs remembered; idle ones go first


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a run a call happens: the thread, its branch and turn, and the visits from the root graph down."""

    thread: str = ""
    branch: str = "main"
    turn: int = 0
    path: str = ""
    veiled: bool = False

    def below(self, visit: str) -> "Place":
        """The place of a graph that this visit calls."""
        return replace(self, path=f"{self.path}/{visit}" if self.path else visit)

    @property
    def above(self) -> tuple[str, ...]:
        """Every path from the outermost to this one: a limit may stand on each."""
        parts = self.path.split("/") if self.path else []
        return tuple("/".join(parts[: n + 1]) for n in range(len(parts)))


_inside: ContextVar["Room | None"] = ContextVar("room", default=None)


class Room:
    """The run's limit on what is called at once. What a tool or a function calls in its turn has its place already.

    Otherwise twenty functions that each run a graph would hold all places, and wait for them.
    """

    def __init__(self, places: int) -> None:
        self._free = asyncio.Semaphore(places)

    @asynccontextmanager
    async def place(self, seconds: float = math.inf) -> AsyncIterator[None]:
        """Hold one place for a call. Raises BudgetError when none has become free in so many seconds."""
        if _inside.get() is self:
            yield
            return
        if self._free.locked():
            await self._wait(seconds)
        else:
            await self._free.acquire()
        mine = _inside.set(self)
        try:
            yield
        finally:
            _inside.reset(mine)
            self._free.release()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise BudgetError("the time is up: it went by in waiting for one of max_concurrency places") from error


@dataclass(slots=True)
class Run:
    """One run at work. `began` is the monotonic time at which this sitting of it began, in seconds.

    `functions` and `retries` are calls of this sitting: of functions, and of whatever was called again.
    """

    control: Any
    context: Context
    book: Book
    ledger: Ledger
    room: Room
    began: float
    warned: bool = False
    retries: int = 0
    functions: int = 0

    @property
    def seconds_left(self) -> float | None:
        """Seconds in which calls may still begin, or None without a limit."""
        most = self.context.max_seconds
        return None if most is None else most - (time.monotonic() - self.began)

    def limit_agent(self, name: str, tokens: int) -> None:
        """Bound what one agent may use in this run, counting what the book already has of it."""
        scope = f"agent:{name}"
        if scope not in self.ledger.scopes:
            before = spent(r for r in self.book.records() if r["agent"] == name)
            self.ledger.limit(scope, Limit(tokens=tokens), before)

    def limit_call(self, place: Place, visit: str, limit: Limit) -> None:
        """Bound what one call may use, with all that is below it, counting what the book already has of it."""
        scope = place.below(visit).path
        if limit.binds:
            before = [*self.book.of(place.path, visit, "model"), *self.book.under(scope)]
            self.ledger.limit(scope, limit, spent(before))

    def left(self, place: Place) -> Limit:
        """What the limits on a place, and above it, leave with nothing in flight; None where nothing binds."""
        return reduce(tighter, map(self.ledger.left, ("", *place.above)))

    def warning(self) -> str | None:
        """A word, once, when four fifths of a limit are used."""
        if self.warned or not (nearly := self.ledger.warning()):
            return None
        self.warned = True
        return nearly

    def may_retry(self, calls: int = 1) -> bool:
        """Spend so many of the run's retries: ten, and one more for every ten calls that were none.

        So they cannot storm, on however many layers something is tried again.
        """
        first = self.ledger.scopes[""].used.calls + self.functions - self.retries
        if self.retries + calls > 10 + max(0, first) // 10:
            return False
        self.retries += calls
        return True


_runs: OrderedDict[tuple[int, str, str, int], Run] = OrderedDict()
_opening: dict[tuple[int, str, str, int], asyncio.Future[Run]] = {}


def context_of(runtime: Runtime[Any]) -> Context:
    """The options of a run; the defaults when none, or only some, were given.

    Raises InputError for unknown or impossible options.
    """
    given = runtime.context
    if isinstance(given, Context):
        return given
    try:
        return Context.model_validate(given or {})
    except ValidationError as error:
        known = ", ".join(Context.model_fields)
        raise InputError(f"the run's context does not fit: {explain(error)}. Known options: {known}") from error


def task_id(runtime: Runtime[Any]) -> str:
    """The engine's id of the task at work: the same when it is taken up again from the same checkpoint."""
    info = runtime.execution_info
    return info.task_id if info is not None else ""


def place_of(config: RunnableConfig) -> Place:
    """Where we stand: told by the parent graph, or read from the root graph's own channels."""
    configurable: Mapping[str, Any] = config.get("configurable") or {}
    veiled = bool(configurable.get(VEILED))
    if (here := configurable.get(HERE)) is not None:
        thread, branch, turn, path = here
        return Place(thread, branch, turn, path, veiled)
    thread = str(configurable.get("thread_id") or "")
    try:
        now = ChannelRead.do_read(config, select=["branch", "turn"])
    except (KeyError, RuntimeError):  # a root graph that is not ours, or no graph at all
        now = {}
    return Place(thread, now.get("branch") or "main", now.get("turn") or 0, "", veiled)


def told(place: Place) -> RunnableConfig:
    """The config by which a nested graph learns its place."""
    return {"configurable": {HERE: (place.thread, place.branch, place.turn, place.path)}}


async def run_of(place: Place, runtime: Runtime[Any]) -> Run:
    """The run that a node belongs to; opened, and on a resume rebuilt from its book, at first use."""
    key = (id(runtime.control), place.thread, place.branch, place.turn)
    if (run := _runs.get(key)) is not None:
        run.book.veiled |= place.veiled
        return run
    if (opening := _opening.get(key)) is not None:
        return await asyncio.shield(opening)
    _opening[key] = asyncio.get_running_loop().create_future()
    try:
        run = await _open(place, runtime)
    except BaseException as error:
        _opening.pop(key).set_exception(error)
        raise
    _runs[key] = run
    _opening.pop(key).set_result(run)
    _forget()
    return run


async def _open(place: Place, runtime: Runtime[Any]) -> Run:
    context = context_of(runtime)
    book = recording() or Book(runtime.store, thread=place.thread, branch=place.branch, turn=place.turn)
    book.veiled = place.veiled
    if place.thread:
        await book.load()
    limit = Limit(
        calls=context.max_calls,
        tokens=context.max_tokens,
        microusd=None if context.max_usd is None else round(context.max_usd * 1e6),
    )
    ledger = Ledger(limit, spent(book.records()))
    return Run(runtime.control, context, book, ledger, Room(context.max_concurrency), time.monotonic())


def _forget() -> None:
    """Keep the map bounded: a control object has no weak references, so idle runs are dropped by age."""
    for key in list(_runs):
        if len(_runs) <= KEPT:
            return
        if _runs[key].ledger.idle:
            del _runs[key]
