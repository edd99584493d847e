"""How the offline model plans: it splits a question into its parts, finds wordings, and matches workers. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from runtime.offline.alike import ALIKE
from runtime.offline.text import STOP, flat, stem, terms, words

PARTS = re.compile(
    r"(?<=\?)\s+|,?\s+and\s+(?=(?:what|which|who|when|where|why|how)\s+(?:\w+\s+)?"
    r"(?:is|are|was|were|do|does|did|can|could|should|must|many|much|long|often|happens?)\b)",
    re.I,
)
NAME = re.compile(
    r"`[^`]+`|\"[^\"]+\"|--?[a-z][\w-]*|\b\w+(?:[._/-]\w+)+\b|\b[A-Z]\w*[A-Z0-9]\w*\b|\b\w*\d\w*\b"
    r"|(?<!^)\b[A-Z][a-z]+\b"
)
REFERS_BACK = re.compile(r"(?:then|after|finally|with (?:that|this|it))\b", re.I)


def parts(question: str, most: int = 4) -> list[str]:
    """The questions in a question; itself, when it is one."""
    found = [flat(part).strip(" ,;") for part in PARTS.split(flat(question))]
    found = [part for part in found if terms(part)]
    return found[:most] if len(found) > 1 else [flat(question)]


def names(question: str, most: int = 4) -> list[str]:
    """What stands in a question by its exact name: options, identifiers, numbers, quoted words, proper names."""
    found = [match.strip("`\"' ") for match in NAME.findall(question)]
    return list(dict.fromkeys(n for n in found if n.lower() not in STOP and len(n) > 1))[:most]


def keywords(question: str) -> str:
    """A question without the words that carry no meaning."""
    kept = [word for word in words(question) if word not in STOP and len(word) > 1]
    return " ".join(dict.fromkeys(kept))


def wordings(question: str) -> list[str]:
    """Other ways to search for it: the words that carry meaning, and those with their common alternatives."""
    plain = keywords(question).split()
    more = [other for word in plain for other in sorted(ALIKE.get(stem(word), ()))]
    out = [" ".join(plain)]
    if more:
        out.append(" ".join(dict.fromkeys([*plain, *more])))
    return [w for w in out if w]


def match(text: str, described: Sequence[tuple[str, str]]) -> str:
    """Whose description shares most with a text; the first of equals."""
    wanted = set(terms(text))
    return max(described, key=lambda d: len(wanted & set(terms(f"{d[0]} {d[1]}"))))[0] if described else ""


def steps(question: str, workers: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A plan: one step for each part, for the worker that fits it best; one that refers back needs the one before."""
    out: list[dict[str, Any]] = []
    for n, part in enumerate(parts(question), start=1):
        back = [out[-1]["id"]] if out and REFERS_BACK.match(part) else []
        out.append({"id": f"s{n}", "worker": match(part, workers), "task": part, "needs": back})
    return out


def uncovered(question: str, texts: Iterable[str]) -> list[str]:
    """Words of a question that none of the texts holds."""
    have = {term for text in texts for term in terms(text)}
    return [word for word in keywords(question).split() if terms(word) and terms(word)[0] not in have]
