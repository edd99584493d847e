"""The cost formulas of the catalogue, worked out."""

from graphs.catalog import entry
from tools.calculator import evaluate


def formula(pattern: str, **counts: int) -> int:
    """The model calls that a pattern's formula gives for what happened. Fails on a count that it does not name."""
    found = entry(pattern)
    assert found is not None
    text = found.cost.replace(" x ", " * ")
    for name in sorted(counts, key=len, reverse=True):
        assert name in text, f"{found.cost!r} names no {name}"
        text = text.replace(name, str(counts[name]))
    return int(evaluate(text)[0])
