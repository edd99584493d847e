"""Who waits for whom: cycles are found when a wait begins, and broken in the same way everywhere.

The wait-for graph is plain data, {who: {"on", "any", "until"}}: somebody waits for all of the others
in `on`, or for any one of them, at most until a time. Who does not wait can go on, and so can be
waited for. Source: Knapp, Deadlock detection in distributed databases (1987), AND and OR models.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from state.errors import InputError

Waits = Mapping[str, Mapping[str, Any]]


class Broken(NamedTuple):
    """A cycle of who waits for whom, and who had to give up so that the others can go on."""

    cycle: list[str]
    victim: str


def wait(
    waits: Waits, who: str, on: Sequence[str], *, any_of: bool = False, until: float | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Begin to wait, and look in the same step: the new graph, and the cycle that then keeps `who` from going on.

    Who waits for all of some may begin to wait for more. Raises InputError for a wait for oneself, for
    nobody, or one that mixes all and any.
    """
    if who in on or not on:
        raise InputError(f"{who} cannot wait for {'itself' if who in on else 'nobody'}; name others")
    have = waits.get(who)
    if have is not None and (have["any"] or any_of):
        raise InputError(f"{who} already waits for {', '.join(have['on'])}; release that before another wait")
    both = sorted({*on, *(have["on"] if have else ())})
    times = [t for t in (until, have["until"] if have else None) if t is not None]
    new = {**waits, who: {"on": both, "any": any_of, "until": min(times) if times else None}}
    return new, _cycle(new, who) if who in stuck(new) else []


def arrived(waits: Waits, who: str, sender: str) -> dict[str, Any]:
    """What `who` waited for has come from `sender`: a wait for any is over, one for all has one less."""
    mine = waits.get(who)
    if mine is None or sender not in mine["on"]:
        return dict(waits)
    left = [] if mine["any"] else [name for name in mine["on"] if name != sender]
    return {**waits, who: {**mine, "on": left}} if left else release(waits, who)


def release(waits: Waits, who: str) -> dict[str, Any]:
    """`who` waits no longer, for whatever reason."""
    return {name: one for name, one in waits.items() if name != who}


def expire(waits: Waits, now: float) -> tuple[dict[str, Any], list[str]]:
    """The graph without the waits whose time is past, and who had waited so long."""
    late = sorted(name for name, one in waits.items() if one["until"] is not None and one["until"] < now)
    return {name: one for name, one in waits.items() if name not in late}, late


def stuck(waits: Waits) -> set[str]:
    """All who can never go on: what is left when everybody who can go on has done so."""
    left = set(waits)
    while free := {name for name in left if _can_go(waits[name], left)}:
        left -= free
    return left


def cycle(waits: Waits) -> list[str]:
    """A cycle of those who are stuck, from its first name on; empty when nobody is. The same for the same graph."""
    locked = stuck(waits)
    return _cycle(waits, min(locked)) if locked else []


def settle(waits: Waits, priority: Mapping[str, int] | None = None) -> tuple[dict[str, Any], list[Broken]]:
    """Break every cycle: of each, who has the lowest priority (0, where none is given) gives up its wait."""
    now, broken = dict(waits), []
    while found := cycle(now):
        broken.append(Broken(found, victim(found, priority)))
        now = release(now, broken[-1].victim)
    return now, broken


def victim(found: Sequence[str], priority: Mapping[str, int] | None = None) -> str:
    """Who of a cycle gives up: the lowest priority, and of equals the first by name."""
    return min(found, key=lambda name: ((priority or {}).get(name, 0), name))


def _can_go(one: Mapping[str, Any], left: set[str]) -> bool:
    free = [name not in left for name in one["on"]]
    return any(free) if one["any"] else all(free)


def _cycle(waits: Waits, start: str) -> list[str]:
    """Follow those who are stuck from one of them on: each has another before it, so the walk comes round."""
    locked, path = stuck(waits), [start]
    while True:
        onward = min(name for name in waits[path[-1]]["on"] if name in locked)
        if onward in path:
            ring = path[path.index(onward) :]
            first = ring.index(min(ring))
            return ring[first:] + ring[:first]
        path.append(onward)
