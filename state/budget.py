"""Budgets: what a run may use, and whether a further reservation fits."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Amount:
    """So many model calls, tokens and millionths of a dollar."""

    calls: int = 0
    tokens: int = 0
    microusd: int = 0

    def __add__(self, other: "Amount") -> Self:
        return type(self)(self.calls + other.calls, self.tokens + other.tokens, self.microusd + other.microusd)

    def __sub__(self, other: "Amount") -> Self:
        return type(self)(self.calls - other.calls, self.tokens - other.tokens, self.microusd - other.microusd)


@dataclass(frozen=True, slots=True)
class Limit:
    """The most of each; None does not bind."""

    calls: int | None = None
    tokens: int | None = None
    microusd: int | None = None

    @property
    def binds(self) -> bool:
        """Whether it limits anything at all."""
        return self.calls is not None or self.tokens is not None or self.microusd is not None


def tighter(one: Limit, other: Limit) -> Limit:
    """The lower of two limits, each for itself."""

    def lower(a: int | None, b: int | None) -> int | None:
        return b if a is None else a if b is None else min(a, b)

    return Limit(lower(one.calls, other.calls), lower(one.tokens, other.tokens), lower(one.microusd, other.microusd))


def over(limit: Limit, used: Amount) -> str:
    """Names the first limit that `used` passes, with both figures; empty when all hold."""
    for name in ("calls", "tokens", "microusd"):
        most = getattr(limit, name)
        if most is not None and getattr(used, name) > most:
            return f"{name}: {getattr(used, name)} of {most}"
    return ""
