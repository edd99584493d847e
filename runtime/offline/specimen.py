"""A text that fits a regular expression or a format: what a form asks for when nothing better is known."""

import re
from re import _constants as kinds  # type: ignore[attr-defined]  # the parser's own names for its nodes
from re import _parser as parser  # type: ignore[attr-defined]  # the only parser of patterns in the standard library
from typing import Any

FORMATS = {
    "date": "1970-01-01",
    "date-time": "1970-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "nobody@example.org",
    "idn-email": "nobody@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "uri-reference": "https://example.org/",
    "iri": "https://example.org/",
    "url": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "json-pointer": "/",
    "regex": ".*",
    "byte": "",
    "binary": "",
}
CATEGORIES = {
    kinds.CATEGORY_DIGIT: "0",
    kinds.CATEGORY_NOT_DIGIT: "a",
    kinds.CATEGORY_SPACE: " ",
    kinds.CATEGORY_NOT_SPACE: "a",
    kinds.CATEGORY_WORD: "a",
    kinds.CATEGORY_NOT_WORD: "-",
}
PLAIN = "a0 -_.A/:#~"  # tried in order where a set says only what it does not hold


def specimen(pattern: str, *, least: int = 0) -> str | None:
    """A text in which the pattern is found, `least` characters long where its repetitions allow; None when none was."""
    try:
        tree = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return None
    for more in (0, least):
        text = _sequence(tree, more, {})
        if re.search(pattern, text) and len(text) >= least:
            return text
    text = _sequence(tree, 0, {})
    padded = text + "a" * (least - len(text))
    return next((t for t in (padded, text) if re.search(pattern, t)), None)


def _sequence(tree: Any, more: int, groups: dict[int, str]) -> str:
    return "".join(_one(kind, value, more, groups) for kind, value in tree)


def _one(kind: Any, value: Any, more: int, groups: dict[int, str]) -> str:
    if kind is kinds.LITERAL:
        return chr(value)
    if kind is kinds.NOT_LITERAL:
        return next(c for c in PLAIN if ord(c) != value)
    if kind is kinds.ANY:
        return "a"
    if kind is kinds.IN:
        return _of_set(value)
    if kind is kinds.BRANCH:
        return _sequence(value[1][0], more, groups)
    if kind is kinds.SUBPATTERN:
        text = _sequence(value[-1], more, groups)
        if value[0] is not None:
            groups[value[0]] = text
        return text
    if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT):
        low, high, inner = value
        return "".join(_sequence(inner, 0, groups) for _ in range(min(max(low, more), high)))
    if kind is kinds.GROUPREF:
        return groups.get(value, "")
    if kind is kinds.CATEGORY:
        return CATEGORIES[value]
    return _sequence(value, more, groups) if kind is kinds.ATOMIC_GROUP else ""  # anchors and assertions take no room


def _of_set(members: Any) -> str:
    if members[0][0] is kinds.NEGATE:
        return next((c for c in PLAIN if not any(_holds(c, m) for m in members[1:])), "\u00e9")
    kind, value = members[0]
    return chr(value) if kind is kinds.LITERAL else chr(value[0]) if kind is kinds.RANGE else CATEGORIES[value]


def _holds(char: str, member: Any) -> bool:
    kind, value = member
    if kind is kinds.LITERAL:
        return ord(char) == int(value)
    if kind is kinds.RANGE:
        return bool(value[0] <= ord(char) <= value[1])
    inside: dict[Any, bool] = {
        kinds.CATEGORY_DIGIT: char.isdigit(),
        kinds.CATEGORY_NOT_DIGIT: not char.isdigit(),
        kinds.CATEGORY_SPACE: char.isspace(),
        kinds.CATEGORY_NOT_SPACE: not char.isspace(),
        kinds.CATEGORY_WORD: char.isalnum() or char == "_",
        kinds.CATEGORY_NOT_WORD: not (char.isalnum() or char == "_"),
    }
    return inside[value]
