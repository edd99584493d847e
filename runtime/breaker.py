"""The breakers of this process: one for each agent, model and tool that was called, shared by all runs.

An agent is known by the words of its contract and by who answers, a tool as the object that it is, a model of
a server by its name and the settings of that server, so that all runs and event loops learn from each other.

No library at hand fits. `interlock-cb` comes nearest (sliding window, least number of calls, bounded probes,
async), but a probe that never returns holds its place for ever unless a Redis server leases it; `pyresilience` does not
bound its probes; `purgatory`, `pybreaker`, `aiobreaker`, `circuitbreaker` and `resilient-circuit` count failures
in a row, or have no bound on probes at once.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Self

from state.breaker import Breaker, Rule, admit, settle, stand, wait
from state.errors import BreakerError

RULE = Rule()
KEPT = 1024  # breakers remembered; those not used for longest go first


@dataclass(slots=True)
class _Kept:
    """One breaker; it holds on to what it protects, so that nothing else can come to have its identity."""

    what: str
    protects: tuple[Any, ...]
    breaker: Breaker = field(default_factory=Breaker)


_kept: OrderedDict[tuple[Any, ...], _Kept] = OrderedDict()
_lock = threading.Lock()


class Admission:
    """One call of `what` ("agent writer"), which is these objects (strings count by value).

    Whoever makes the call says how it went, in `well`; None says nothing about what was called. Entering
    raises BreakerError while the breaker is open, or has all the probes it may have.
    """

    __slots__ = ("_kept", "_key", "_number", "_protects", "_what", "well")

    def __init__(self, what: str, *protects: Any) -> None:
        self._what, self._protects = what, protects
        self._key = (what, *(p if isinstance(p, str) else id(p) for p in protects))
        self.well: bool | None = None

    def __enter__(self) -> Self:
        with _lock:
            kept = self._kept = _kept.get(self._key) or _kept.setdefault(self._key, _Kept(self._what, self._protects))
            _kept.move_to_end(self._key)
            if len(_kept) > KEPT:
                _kept.popitem(last=False)
            now = time.monotonic()
            kept.breaker, number = admit(RULE, kept.breaker, now)
            if number is None:
                raise BreakerError(_why(kept, now))
        self._number = number
        return self

    def __exit__(self, *_: object) -> None:
        kept = self._kept
        with _lock:
            kept.breaker = settle(RULE, kept.breaker, self._number, time.monotonic(), self.well)


def forget() -> None:
    """Begin anew: every breaker is closed, and knows of no call."""
    with _lock:
        _kept.clear()


def breakers() -> list[dict[str, Any]]:
    """How the breakers stand: what each protects, closed, open or half-open, and how many of how many calls failed."""
    now = time.monotonic()
    with _lock:
        return [
            {
                "what": kept.what,
                "stands": stand(RULE, kept.breaker, now),
                "failed": kept.breaker.failed[0] or sum(not well for _, well in kept.breaker.outcomes),
                "calls": kept.breaker.failed[1] or len(kept.breaker.outcomes),
                "seconds": round(wait(RULE, kept.breaker, now), 1),
            }
            for kept in _kept.values()
        ]


def _why(kept: _Kept, now: float) -> str:
    failed, calls = kept.breaker.failed
    seconds = wait(RULE, kept.breaker, now)
    when = f"in {seconds:.0f} s" if seconds >= 1 else "once a probe has gone well"
    return f"{kept.what} is not called: {failed} of its last {calls} calls failed; it is tried again {when}"
