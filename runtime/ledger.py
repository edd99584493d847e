"""The budgets and the concurrency of a run: reserved before each call, settled after it.

One ledger serves all parallel branches and nested graphs of a run. Limits stand on scopes: the
empty scope is the run, `agent:<name>` one agent, a path everything below one call.
"""

import asyncio
import threading
from dataclasses import dataclass, field

from state.budget import Amount, Limit, over, tighter
from state.errors import BudgetError


@dataclass(slots=True)
class Scope:
    """What one limit covers, and how much of it is gone or promised."""

    limit: Limit
    used: Amount = field(default_factory=Amount)
    held: Amount = field(default_factory=Amount)


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation, to be settled exactly once."""

    amount: Amount
    scopes: tuple[str, ...]


UNLIMITED = Limit()


class Ledger:
    """Sums are kept under a lock, as a foreign graph may count from other threads; only the run's loop waits."""

    def __init__(self, limit: Limit, spent: Amount | None = None) -> None:
        self.scopes: dict[str, Scope] = {"": Scope(limit, spent or Amount())}
        self._waiting: list[asyncio.Future[None]] = []
        self._lock = threading.Lock()

    def limit(self, scope: str, limit: Limit, spent: Amount | None = None) -> None:
        """Put a limit on a scope; of several the tightest holds."""
        found = self.scopes.setdefault(scope, Scope(limit, spent or Amount()))
        found.limit = tighter(found.limit, limit)

    async def reserve(self, want: Amount, scopes: tuple[str, ...] = ("",)) -> Hold:
        """Hold an amount. While calls in flight may give something back, wait for them.

        Raises BudgetError when it would not fit even with nothing in flight.
        """
        while True:
            try:
                return self.take(want, scopes)
            except BudgetError:
                if not any(self.scopes[s].held.calls for s in scopes if s in self.scopes):
                    raise
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn

    def take(self, want: Amount, scopes: tuple[str, ...] = ("",)) -> Hold:
        """Hold an amount now. Raises BudgetError when it does not fit, whatever is in flight."""
        bound = tuple(s for s in scopes if s in self.scopes)
        with self._lock:
            if reason := self._short(want, bound):
                raise BudgetError(reason)
            for s in bound:
                self.scopes[s].held += want
        return Hold(want, bound)

    def spend(self, used: Amount, scopes: tuple[str, ...] = ("",)) -> None:
        """Count what was used without a reservation: long ago, in a run that is replayed."""
        with self._lock:
            for s in scopes:
                if s in self.scopes:
                    self.scopes[s].used += used

    def settle(self, hold: Hold, used: Amount) -> None:
        """Replace a reservation by what was really used, and wake who waits for room."""
        with self._lock:
            for s in hold.scopes:
                scope = self.scopes[s]
                scope.held -= hold.amount
                scope.used += used
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.get_loop().call_soon_threadsafe(_wake, turn)

    def left(self, scope: str) -> Limit:
        """What a scope could still use with nothing in flight; None where nothing binds."""
        found = self.scopes.get(scope)
        if found is None or not found.limit.binds:
            return UNLIMITED
        limit, used = found.limit, found.used
        return Limit(
            None if limit.calls is None else limit.calls - used.calls,
            None if limit.tokens is None else limit.tokens - used.tokens,
            None if limit.microusd is None else limit.microusd - used.microusd,
        )

    def warning(self, share: float = 0.8) -> str:
        """Names the run's first limit of which more than `share` is used; empty when none is."""
        scope = self.scopes[""]
        if not scope.limit.binds:
            return ""
        for name in ("calls", "tokens", "microusd"):
            most, used = getattr(scope.limit, name), getattr(scope.used, name)
            if most is not None and used >= share * most:
                return f"{name}: {used} of {most} used"
        return ""

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return all(not s.held.calls for s in self.scopes.values())

    def _short(self, want: Amount, scopes: tuple[str, ...]) -> str:
        for s in scopes:
            scope = self.scopes[s]
            if scope.limit.binds and (reason := over(scope.limit, scope.used + scope.held + want)):
                where = {"": "the run's"}.get(s, f"{s}'s")
                return f"{where} budget is used up: {reason} (with this call)"
        return ""


def _wake(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)
