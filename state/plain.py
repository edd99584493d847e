"""What a database can hold of plain data."""

from typing import Any

LEAST, MOST = -(2**63), 2**64 - 1


def unsavable(value: Any) -> str:
    """What of some plain data cannot be saved, and the mend; empty when all can be."""
    if isinstance(value, str):
        return "" if value.isascii() or _is_text(value) else "a text has half a character; give valid Unicode"
    if type(value) is int:
        return "" if LEAST <= value <= MOST else f"the number {str(value)[:24]}… is beyond 64 bits; give it as text"
    if isinstance(value, dict):
        return next(filter(None, map(unsavable, (*value, *value.values()))), "")
    if isinstance(value, list | tuple):
        return next(filter(None, map(unsavable, value)), "")
    return ""


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
