"""When to stop calling what keeps failing: the decisions of a circuit breaker, over plain data and a given time.

Closed, it lets everything through and looks at the newest outcomes; it opens when too great a share of them
failed. Open, it lets nothing through for a while. Then, half open, it lets a few probes through: the first
that fails opens it again, and it closes when as many went well. A probe that nobody ever settles gives its
place back. Times are seconds on any clock that only grows.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

Stand = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a breaker opens, for how long, and how it finds out whether it may close.

    It looks at the newest `window` outcomes that are no older than `memory` seconds, once there are at least
    `least` of them, and opens when `rate` of them failed. It stays open for `rest` seconds; then at most
    `probes` calls are let through at once, each of which has `patience` seconds.
    """

    window: int = 50
    memory: float = 300.0
    least: int = 20
    rate: float = 0.5
    rest: float = 30.0
    probes: int = 2
    patience: float = 180.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """What one breaker remembers: outcomes as (when, well), when it opened, and its probes as (number, since).

    `next` numbers the admissions; those below `era` were given before it last opened or closed, and say no more.
    """

    outcomes: tuple[tuple[float, bool], ...] = ()
    opened: float | None = None
    probes: tuple[tuple[int, float], ...] = ()
    passed: int = 0
    next: int = 0
    era: int = 0
    failed: tuple[int, int] = field(default=(0, 0))  # of so many calls when it opened, for people to read


def stand(rule: Rule, breaker: Breaker, now: float) -> Stand:
    """How it stands now."""
    if breaker.opened is None:
        return "closed"
    return "open" if now < breaker.opened + rule.rest else "half-open"


def admit(rule: Rule, breaker: Breaker, now: float) -> tuple[Breaker, int | None]:
    """Let a call through, under a number by which it is settled, or not: None."""
    number = breaker.next
    match stand(rule, breaker, now):
        case "closed":
            return _closed(breaker, breaker.outcomes, number + 1), number
        case "open":
            return breaker, None
    waiting = _waiting(rule, breaker, now)
    if len(waiting) + breaker.passed >= rule.probes:
        return replace(breaker, probes=waiting), None
    return replace(breaker, probes=(*waiting, (number, now)), next=number + 1), number


def settle(rule: Rule, breaker: Breaker, number: int, now: float, well: bool | None) -> Breaker:
    """Take in how a call went; None where that says nothing about what was called: it was cancelled, say."""
    if number < breaker.era:
        return breaker
    if breaker.opened is None:
        return breaker if well is None else _weighed(rule, breaker, now, well)
    if number not in (n for n, _ in _waiting(rule, breaker, now)):
        return breaker
    probes = tuple(p for p in breaker.probes if p[0] != number)
    if well is None:
        return replace(breaker, probes=probes)
    if not well:
        return _opened(breaker, now, breaker.failed)
    if breaker.passed + 1 < rule.probes:
        return replace(breaker, probes=probes, passed=breaker.passed + 1)
    return Breaker(next=breaker.next, era=breaker.next)


def wait(rule: Rule, breaker: Breaker, now: float) -> float:
    """Seconds until it may let a call through again; 0 when it may at once, or when a probe is all it waits for."""
    return 0.0 if breaker.opened is None else max(0.0, breaker.opened + rule.rest - now)


def _waiting(rule: Rule, breaker: Breaker, now: float) -> tuple[tuple[int, float], ...]:
    """The probes that still have time: what became of a stuck one is not waited for."""
    return tuple((n, since) for n, since in breaker.probes if now < since + rule.patience)


def _weighed(rule: Rule, breaker: Breaker, now: float, well: bool) -> Breaker:
    known, oldest = breaker.outcomes[-rule.window + 1 :] if rule.window > 1 else (), now - rule.memory
    if known and known[0][0] <= oldest:
        known = tuple(o for o in known if o[0] > oldest)
    outcomes = (*known, (now, well))
    if not well and len(outcomes) >= rule.least:
        failed = sum(not good for _, good in outcomes)
        if failed >= rule.rate * len(outcomes):
            return _opened(breaker, now, (failed, len(outcomes)))
    return _closed(breaker, outcomes, breaker.next)


def _closed(breaker: Breaker, outcomes: tuple[tuple[float, bool], ...], number: int) -> Breaker:
    """`replace` for the two steps of every call, which must cost next to nothing."""
    return Breaker(outcomes, breaker.opened, breaker.probes, breaker.passed, number, breaker.era, breaker.failed)


def _opened(breaker: Breaker, now: float, failed: tuple[int, int]) -> Breaker:
    return Breaker(opened=now, next=breaker.next, era=breaker.next, failed=failed)
