"""How likely each sentence of the passages that were found answers the question. Pure.

Two linear scores, each made a chance by softmax: of a passage, by where the searches ranked it and how much
of the question it speaks of; of a sentence, by the question's terms in it, around it and above it, and by
whether it holds the kind of thing asked for. The weights are the maximum of the likelihood of sentences that
hold the gold answer, over five of the question sets in benchmarks/questions; fitted without one of these, they
do as well on it. Of unix-tools and debian-community only the totals were looked at, also to settle how much
coverage is enough: not quite an independent test.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runtime.offline.alike import ALIKE
from runtime.offline.evidence import Passage
from runtime.offline.expecting import NUMBER, expected, places
from runtime.offline.text import flat, spans, stems, terms, words
from runtime.offline.worth import Demand, Worth

PASSAGE = {"first": 0.9, "fused": 2.2, "met": 4.9, "heading": 2.0}
SENTENCE = {
    "own": 5.8,
    "like": 5.6,
    "before": 3.8,
    "after": 2.5,
    "heading": 3.2,
    "earlier": 2.7,
    "number": 1.7,
    "kind": 1.7,
    "question": -5.0,
    "pairs": 1.8,
    "passage": 0.7,
}
FAR = 20  # the rank of a passage that the first search did not find

Signs = dict[str, float]


@dataclass(frozen=True, slots=True)
class Weighed:
    """A passage with its sentences, and the chance that it answers, of all passages; `met` is its coverage."""

    passage: Passage
    met: float
    chance: float
    sentences: tuple[tuple[int, int], ...]

    def text(self, first: int, last: int) -> str:
        """The sentences from one to another, both included, white space evened out."""
        return flat(self.passage.text[self.sentences[first][0] : self.sentences[last][1]])


@dataclass(frozen=True, slots=True)
class Sentence:
    """The n-th sentence of a passage, and the chance that it holds the answer, of all sentences."""

    of: Weighed
    n: int
    chance: float
    length: int


def weigh(
    question: str, passages: Sequence[Passage], worth: Worth, demand: Demand
) -> tuple[list[Weighed], list[Sentence]]:
    """The passages and their sentences, each the likeliest first; equals in the order of their references."""
    unique = _unique(passages)
    where = [tuple(spans(p.text)) for p in unique]
    signs = list(signs_of_passages(passages, unique, worth, demand))
    scores = [_score(PASSAGE, s) for s in signs]
    found = [
        Weighed(p, s["met"], chance, at)
        for p, s, chance, at in zip(unique, signs, chances(scores), where, strict=True)
        if at
    ]
    level = dict(zip((p.reference for p in unique), scores, strict=True))
    each = [(w, n, s) for w in found for n, s in enumerate(signs_of_sentences(question, w, worth))]
    marks = [_score(SENTENCE, s | {"passage": level[w.passage.reference]}) for w, _, s in each]
    said = [Sentence(w, n, chance, len(w.text(n, n))) for (w, n, _), chance in zip(each, chances(marks), strict=True)]
    found.sort(key=lambda w: (-w.chance, w.passage.reference))
    said.sort(key=lambda s: (-s.chance, s.of.passage.reference, s.n))
    return found, said


def _unique(passages: Sequence[Passage]) -> list[Passage]:
    """Each passage once; two pieces of one stay two, where neither holds the other."""
    out: dict[str, list[str]] = {}
    kept = []
    for passage in passages:
        known, text = out.setdefault(passage.reference, []), flat(passage.text)
        if not any(text in other or other in text for other in known):
            known.append(text)
            kept.append(passage)
    return kept


def signs_of_passages(
    found: Sequence[Passage], unique: Sequence[Passage], worth: Worth, demand: Demand
) -> Iterator[Signs]:
    """What speaks for each passage, all its places in the searches counted."""
    batches = sorted({p.batch for p in found})
    fused: dict[str, float] = {}
    first: dict[str, int] = {}
    for p in found:
        fused[p.reference] = fused.get(p.reference, 0.0) + 10 / (10 + p.rank) / len(batches)
        if p.batch == batches[0]:
            first.setdefault(p.reference, p.rank)
    for p in unique:
        label = f"{p.heading} {p.reference}"
        yield {
            "first": -math.log1p(min(first.get(p.reference, FAR), FAR)),
            "fused": fused[p.reference],
            "met": demand.met(f"{label} {p.text}"),
            "heading": _held(worth, set(stems(label))),
        }


def signs_of_sentences(question: str, found: Weighed, worth: Worth) -> Iterator[Signs]:
    """What speaks for each sentence of a passage; a term counts once, where it stands nearest."""
    looks, asked, inquired = expected(question), frozenset(words(question)), terms(question)
    pairs = set(pairwise(inquired))
    texts = [found.text(n, n) for n in range(len(found.sentences))]
    runs = [stems(text) for text in texts]
    own = [frozenset(run) for run in runs]
    heading = frozenset(stems(f"{found.passage.heading} {found.passage.reference}"))
    nothing: frozenset[str] = frozenset()
    for n, text in enumerate(texts):
        around = {
            "before": own[n - 1] if n else nothing,
            "after": own[n + 1] if n + 1 < len(own) else nothing,
            "heading": heading,
            "earlier": own[n - 2] if n > 1 else nothing,
        }
        signs = _near(worth, own[n], around)
        kept = [term for term in runs[n] if term in worth]
        held = [look for look in looks if places(text, [look], asked)]
        yield signs | {
            "kind": float(bool(held)),
            "number": float(NUMBER in held),
            "question": float(text.endswith("?")),
            "pairs": len(pairs & set(pairwise(kept))) / max(1, len(pairs)),
        }


def _near(worth: Worth, own: frozenset[str], around: Mapping[str, frozenset[str]]) -> Signs:
    whole = sum(worth.values())
    out = dict.fromkeys(("own", "like", *around), 0.0)
    for term, value in worth.items():
        if term in own:
            out["own"] += value / whole
            continue
        if not own.isdisjoint(ALIKE.get(term, ())):
            out["like"] += value / whole
        place = next((name for name, held in around.items() if term in held), None)
        if place:
            out[place] += value / whole
    return out


def _held(worth: Worth, held: set[str]) -> float:
    return sum(value for term, value in worth.items() if term in held) / sum(worth.values())


def _score(weights: Mapping[str, float], signs: Signs) -> float:
    return sum(weight * signs[name] for name, weight in weights.items())


def chances(scores: Sequence[float]) -> list[float]:
    """Softmax: scores as chances that add up to 1."""
    top = max(scores, default=0.0)
    powers = [math.exp(score - top) for score in scores]
    whole = sum(powers)
    return [power / whole for power in powers]
