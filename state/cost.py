"""How many model calls something makes: the least and the most, computed from its options before it runs.

Repairs, corrections of an invariant, retries and fallbacks of the failure policy are in `most`. Requests
repeated because a model's server failed in passing are not: those the run's own retry budget bounds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Calls:
    """At most `most` model calls, and no fewer than `least` when it is completed; None where no bound is known."""

    least: int = 0
    most: int | None = 0

    def __add__(self, other: "Calls") -> "Calls":
        return Calls(self.least + other.least, _both(self.most, other.most, int.__add__))

    def __or__(self, other: "Calls") -> "Calls":
        """One or the other."""
        return Calls(min(self.least, other.least), _both(self.most, other.most, max))

    def times(self, least: int, most: int | None = None) -> "Calls":
        """As often as `least`, at most as often as `most` (`least`, by default)."""
        often = least if most is None else most
        return Calls(self.least * least, 0 if often == 0 else _both(self.most, often, int.__mul__))

    def unbounded(self) -> "Calls":
        """As often as the input asks for."""
        return Calls(self.least, self.most if self.most == 0 else None)

    def __str__(self) -> str:
        if self.most is None:
            return f"{self.least} or more"
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}"


NONE = Calls()


def total(parts: Iterable[Calls]) -> Calls:
    """All of them, one after the other."""
    return sum(parts, NONE)


def either(parts: Iterable[Calls]) -> Calls:
    """One of them; nothing of nothing."""
    first, *rest = [*parts] or [NONE]
    for part in rest:
        first |= part
    return first


def _both(one: int | None, other: int | None, joined: Callable[[int, int], int]) -> int | None:
    return None if one is None or other is None else joined(one, other)
