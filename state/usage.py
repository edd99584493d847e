"""What calls used: tokens, money in millionths of a US dollar, and how often."""

from collections.abc import Iterable, Mapping

Usage = dict[str, int]
"""Counts of one agent in one run, by the names in FIELDS; `cached` calls were answered without a model."""

FIELDS = ("calls", "tokens_in", "tokens_out", "cost_microusd", "cached")


def total(usages: Iterable[Mapping[str, int]] = ()) -> Usage:
    """The sum, field by field; nothing at all sums to zeros."""
    out = dict.fromkeys(FIELDS, 0)
    for used in usages:
        for name in FIELDS:
            out[name] += used.get(name, 0)
    return out
