"""How the offline model plans: it splits a question into its parts, finds wordings, and matches workers. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from runtime.offline import sql
from runtime.offline.alike import ALIKE
from runtime.offline.sums import sums
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
COMPUTING = frozenset(terms("figure number table calculate calculator calculation compute count data"))
READING = frozenset(terms("document documentation passage source text manual file"))
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
    found = _shared(text, described)
    return described[found.index(max(found))][0] if described else ""


def surely(text: str, described: Sequence[tuple[str, str]]) -> float:
    """How sure that choice is: the words shared with the one chosen, of all that are shared with anybody, and one."""
    found = _shared(text, described)
    return max(found, default=0) / (1 + sum(found))


def figures(question: str) -> bool:
    """Whether it asks for something to be counted or computed."""
    return sql.figures(question) or bool(sums(question))


def _shared(text: str, described: Sequence[tuple[str, str]]) -> list[int]:
    """How many words each description shares with a text; what kind of thing is asked for counts as one."""
    wanted, kind = set(terms(text)), COMPUTING if figures(text) else READING
    each = [set(terms(f"{name} {said}")) for name, said in described]
    return [len(wanted & own) + bool(kind & own) for own in each]


def steps(question: str, workers: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A plan: one step for each part, for the worker that fits it best; one that refers back needs the one before."""
    out: list[dict[str, Any]] = []
    for n, part in enumerate(parts(question), start=1):
        back = [out[-1]["id"]] if out and REFERS_BACK.match(part) else []
        out.append({"id": f"s{n}", "worker": match(part, workers), "task": part, "needs": back})
    return out


def messages(question: str, workers: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Who is asked what, where nobody waits for another: everyone who fits a part best gets one message, of all."""
    asked: dict[str, list[str]] = {}
    for part in parts(question):
        found = _shared(part, workers)
        fit = [name for (name, _), n in zip(workers, found, strict=True) if n and n == max(found)]
        for name in fit or [match(part, workers)]:
            asked.setdefault(name, []).append(part)
    return [
        {"id": f"s{n}", "worker": name, "task": " ".join(said), "needs": []}
        for n, (name, said) in enumerate(asked.items(), start=1)
    ]


def uncovered(question: str, texts: Iterable[str]) -> list[str]:
    """Words of a question that none of the texts holds."""
    have = {term for text in texts for term in terms(text)}
    return [word for word in keywords(question).split() if terms(word) and terms(word)[0] not in have]
