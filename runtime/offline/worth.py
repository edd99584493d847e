"""What the terms of a question are worth by their rarity, and how much of a question a text speaks of."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from runtime.offline.alike import ALIKE
from runtime.offline.evidence import Passage
from runtime.offline.ordinary import ORDINARY
from runtime.offline.text import STOP, stem, stems, words

LEAST = 0.1  # a term that stands everywhere still says something
RANKING = 0.5  # of an everyday word's rarity counts for the order of passages
COVERING = 0.1  # and for the coverage: documents say the same in other words
MOST = 4.0  # what a word that is no name is worth at most, for the same reason
UNKNOWN = 0.7  # of it, where it stands nowhere at all
USUAL = 400  # passages of a folder; that a word stands nowhere in a smaller one says less
NAMED = 1.5  # a name has no other words
OTHER, BEGUN, PREFIX = 0.8, 0.6, 5  # a like word, one that begins so, and how much of it
NAME = re.compile(r"\b(?:[A-Z]\w*[A-Z0-9]\w*|[A-Z][a-z]+|\w*\d\w*)\b")
COMPOUND = re.compile(r"(?<!\w)-{1,2}[A-Za-z][\w-]*|\w+(?:[._/:-]\w+)+|\w+_\w+")

Worth = dict[str, float]


@dataclass(frozen=True, slots=True)
class Demand:
    """What a text must speak of to answer a question: terms, and compounds such as `--dry-run` letter for letter.

    `names` has the word as it was asked for behind the term of a name: `Mars` is not March.
    """

    terms: Worth
    compounds: Worth
    names: Mapping[str, str]

    def met(self, text: str) -> float:
        """The share of it that a text speaks of, in these words or in others like them."""
        whole = sum(self.terms.values()) + sum(self.compounds.values())
        if not whole:
            return 0.0
        found, low = set(stems(text)), text.lower()
        literal = set(words(text))
        begun = {term[:PREFIX] for term in found if len(term) >= PREFIX}
        held = sum(value for compound, value in self.compounds.items() if compound in low)
        for term, value in self.terms.items():
            if term in found:
                held += value if self.names.get(term) in literal or term not in self.names else BEGUN * value
            elif ALIKE.get(term, frozenset()) & found:
                held += OTHER * value
            elif len(term) >= PREFIX and term[:PREFIX] in begun:
                held += BEGUN * value
        return held / whole


def worth_of(question: str, passages: Sequence[Passage], counts: Mapping[str, int], size: int) -> Worth:
    """Terms by rarity: among the `size` passages a tool counted them in, else among those at hand."""
    named, rarity, out = _named(question), _rarity(passages, counts, size), Worth()
    for word in _meaning(question):
        term = stem(word)
        share = RANKING if term in ORDINARY and term not in named else 1.0
        out[term] = max(out.get(term, 0.0), share * rarity(word)[0])
    return out


def demand_of(question: str, passages: Sequence[Passage], counts: Mapping[str, int], size: int) -> Demand:
    """What an answer must speak of: names above all, everyday words hardly."""
    named, rarity, out = _named(question), _rarity(passages, counts, size), Worth()
    names: dict[str, str] = {}
    unknown = UNKNOWN * min(1.0, math.log1p(size or len(passages)) / math.log1p(USUAL))
    for word in _meaning(question):
        term = stem(word)
        value, known = rarity(word)
        if term in named:
            value *= NAMED
            names[term] = word.removesuffix("'s")
        else:
            value = min(value, MOST) * (COVERING if term in ORDINARY else 1.0) * (1.0 if known else unknown)
        out[term] = max(out.get(term, 0.0), value)
    compounds = {
        m.group().lower(): 0.5 * max([3.0, *(out.get(stem(w), 0.0) for w in words(m.group()))])
        for m in COMPOUND.finditer(question)
    }
    return Demand(out, compounds, names)


def _meaning(question: str) -> list[str]:
    return [word for word in words(question) if word not in STOP and len(word) > 1]


def _named(question: str) -> set[str]:
    """The stems of names: capitals within the question, figures, and what compounds are made of."""
    found = [m.group() for m in NAME.finditer(question) if m.start()]
    found += [m.group() for m in COMPOUND.finditer(question)]
    return {stem(word) for name in found for word in words(name)}


def _rarity(passages: Sequence[Passage], counts: Mapping[str, int], size: int) -> Callable[[str], tuple[float, bool]]:
    """A function from a word to what its rarity is worth, and whether it stands anywhere."""
    pool = [] if size else [set(stems(f"{p.heading} {p.text}")) for p in passages]

    def rarity(word: str) -> tuple[float, bool]:
        seen, of = (counts.get(word, 0), size) if size else (sum(stem(word) in p for p in pool), len(pool))
        return max(LEAST, -math.log(min((seen + 0.5) / (of + 1), 0.95))), seen > 0

    return rarity
