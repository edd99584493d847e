"""What kind of thing a question asks for, and whether a text holds one that the question does not."""

import re
from collections.abc import Sequence

from runtime.offline.text import words

_NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve twenty thirty hundred thousand half zero none"
)
_MONTHS = "january february march april may june july august september october november december"
_NAMED = (
    "option flag switch setting variable command subcommand parameter argument file files directory folder path"
    " function method class field header key program tool package module hook attribute keyword extension address"
    " url mail name helper script label section macro where character symbol prefix suffix string format value api"
    " exception error warning code rule"
)


def _any(text: str) -> str:
    return "|".join(text.split())


NUMBER = re.compile(rf"\d|\b(?:{_any(_NUMBERS)})\b", re.I)
# what a question says, and what an answer to it looks like
KINDS: list[tuple[re.Pattern[str], re.Pattern[str]]] = [
    (
        re.compile(
            r"\bhow (?:many|much|long|often|old|large|big|far|soon|high|wide|deep|fast)\b|\bnumber\b|\bm(?:ax|in)imum\b"
            r"|\b(?:what|which) (?:size|port|percentage|length|limit|majority|year|version|mode|exit|age)\b"
            r"|\bdefault (?:port|size|limit|length|timeout|value)\b",
            re.I,
        ),
        NUMBER,
    ),
    (
        re.compile(r"\bwhen\b|\b(?:what|which) (?:year|date|day|month)\b|\bsince\b|\bhow (?:long ago|old)\b", re.I),
        re.compile(rf"\b(?:1[89]|20)\d\d\b|\b(?:{_any(_MONTHS)})\b|\d+[-/.]\d+", re.I),
    ),
    (
        re.compile(
            r"\bwho(?:m|se)?\b|\bname of\b|\bcalled\b|\b(?:what|which) (?:company|person|author|developer|team|project"
            r"|city|country|language|distribution|licen[cs]e|machine|organi[sz]ation)\b",
            re.I,
        ),
        re.compile(r"(?<=[a-z,;:)\"'(] )[A-Z][\w'-]+|[\w.+-]+@[\w.-]+|\b[A-Z][a-z]+ [A-Z][a-z]+"),
    ),
    (
        re.compile(rf"\b(?:{_any(_NAMED)})\b", re.I),
        re.compile(
            r"`[^`]+`|(?<!\w)--?[a-zA-Z][\w-]*|\b\w+[_./:]\w[\w./:-]*|\b[A-Z][A-Z0-9_]{2,}\b|\b[a-z]+[A-Z]\w+"
            r"|(?<!\w)[/~.][\w./-]+|\"[^\"]{2,40}\"|\w+\(\)|\b\w+-\w+\b"
        ),
    ),
]


def expected(question: str) -> list[re.Pattern[str]]:
    """What answers to the question look like; empty where nothing can be said."""
    return [answer for asks, answer in KINDS if asks.search(question)]


def places(text: str, looks: Sequence[re.Pattern[str]], question: frozenset[str]) -> list[tuple[int, int]]:
    """Where a text holds such a thing that is not merely the question's own words."""
    found = (m for pattern in looks for m in pattern.finditer(text))
    return [m.span() for m in found if not question.issuperset(words(m.group()))]
