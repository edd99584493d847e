"""What calls used: tokens, money in millionths of a US dollar, and how often."""

from collections.abc import Iterable, Mapping
from typing import Any

from typing_extensions import TypedDict

FIELDS = ("calls", "tokens_in", "tokens_out", "cost_microusd", "cached")


class Usage(TypedDict):
    """Counts of one agent in one run; `cached` calls were answered without a model."""

    calls: int
    tokens_in: int
    tokens_out: int
    cost_microusd: int
    cached: int


def nothing() -> Usage:
    """No use at all."""
    return {"calls": 0, "tokens_in": 0, "tokens_out": 0, "cost_microusd": 0, "cached": 0}


def total(usages: Iterable[Mapping[str, Any]]) -> Usage:
    """The sum, field by field."""
    out = nothing()
    for used in usages:
        for name in FIELDS:
            out[name] += int(used.get(name, 0))  # type: ignore[literal-required]  # FIELDS are its keys
    return out
