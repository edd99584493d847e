"""Which words of which passages answer a question, and how surely: overlap weighed by rarity. Pure.

A sentence is as good as the question's terms in it, in its neighbours and in its heading, the ranks of
its passage in the searches that found it, and whether it holds the kind of thing asked for. The weights
were settled on five of the question sets in benchmarks/questions. Of unix-tools and debian-community only
the totals were looked at, to see how well the weights carry over: not quite an independent test.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runtime.offline.alike import ALIKE
from runtime.offline.evidence import Passage
from runtime.offline.expecting import expected, places
from runtime.offline.text import WORD, flat, spans, stem, stems, words
from runtime.offline.worth import Worth, demand_of, worth_of

LONGEST = 400  # characters of an answer, references included
QUOTES = 3  # quotes of one answer
FIRST, OTHERS, SHORTEST = 200, 110, 80  # characters a quote wants: the best, the others, and what is worth quoting
ENOUGH = 0.70  # coverage by one of the best passages without which nothing was found, of a very short question
WEAK = 0.45  # of the best coverage; what speaks of less of the question is left out
STORY, STORIES = 0.002, 150  # less for each character, up to so many: long questions tell a story around what they ask
ALT, BEFORE, AFTER, HEADING, FUSED, RANK, KIND = 0.4, 0.8, 0.2, 0.35, 0.8, 1.3, 0.3


@dataclass(frozen=True, slots=True)
class Quote:
    """A verbatim piece of a passage. `score` orders quotes, `coverage` is the share of the question it speaks of.

    `sql` is the SELECT, where the words are rows of a table.
    """

    text: str
    reference: str
    score: float
    coverage: float
    heading: str = ""
    sql: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """A sentence in its passage: the n-th of the spans."""

    passage: Passage
    spans: tuple[tuple[int, int], ...]
    n: int

    def text(self) -> str:
        start, end = self.spans[self.n]
        return flat(self.passage.text[start:end])

    def widened(self, most: int) -> str:
        """The sentence with those after it, or, where none fits, those before it, as long as there is room."""
        first = last = self.n
        while last + 1 < len(self.spans) and len(self._between(first, last + 1)) <= most:
            last += 1
        while last == self.n and first and len(self._between(first - 1, last)) <= most:
            first -= 1
        return self._between(first, last)

    def _between(self, first: int, last: int) -> str:
        return flat(self.passage.text[self.spans[first][0] : self.spans[last][1]])


def quotes(
    question: str, passages: Sequence[Passage], counts: Mapping[str, int] | None = None, size: int = 0
) -> list[Quote]:
    """The best quote of each passage, best first; the first ones as long as an answer has room for."""
    unique = list({p.reference: p for p in reversed(passages)}.values())[::-1]
    counts = counts or {}
    worth = worth_of(question, unique, counts, size)
    if not worth:
        return []
    demand = demand_of(question, unique, counts, size)
    ranked = sorted(_placed(question, unique, worth, _ranks(passages)), key=lambda t: (-t[0], t[1].passage.reference))
    shares = [demand.met(f"{at.passage.heading} {at.passage.reference} {at.passage.text}") for _, at in ranked]
    least = WEAK * max(shares[:QUOTES], default=0.0)
    kept = [(score, place, share) for (score, place), share in zip(ranked, shares, strict=True) if share >= least]
    texts = _fitted([place for _, place, _ in kept], worth, expected(question), frozenset(words(question)))
    return [
        Quote(text, place.passage.reference, score, share, place.passage.heading)
        for (score, place, share), text in zip(kept, texts, strict=True)
    ]


def answering(
    question: str, passages: Sequence[Passage], counts: Mapping[str, int], size: int, *, strict: bool
) -> list[Quote]:
    """The quotes worth saying: where documents were searched, only with enough coverage; else the material at hand."""
    told = [p for p in passages if p.sure is not None]
    if told and len(told) == len(passages):  # chosen and weighed already: kept as they are
        kept = sorted(told, key=lambda p: -(p.sure or 0))
        return [Quote(flat(p.text), p.reference, p.sure or 0, p.sure or 0, p.heading) for p in kept]
    found = quotes(question, passages, counts, size)
    if strict:
        sure = max((q.coverage for q in found[:QUOTES]), default=0.0)
        least = ENOUGH - STORY * min(len(question), STORIES)
        return [replace(q, coverage=sure * 0.98**n) for n, q in enumerate(found)] if sure >= least else []
    return found or [Quote(_clipped(flat(p.text), FIRST, {}, []), p.reference, 0, 0, p.heading) for p in passages]


def compose(found: Sequence[Quote], *, most: int = LONGEST) -> str:
    """The quotes in order, each with its reference right after it, as many as there is room for."""
    out, said = "", 0
    for quote in found:
        piece = f"{quote.text} [{quote.reference}]"
        if said < QUOTES and quote.text not in out and (not out or len(out) + 1 + len(piece) <= most):
            out, said = f"{out} {piece}".strip(), said + 1
    return out


def _ranks(passages: Sequence[Passage]) -> dict[str, float]:
    """How high each passage came: reciprocal ranks over all searches, and the rank in the first."""
    batches = sorted({p.batch for p in passages})
    out: dict[str, float] = {}
    for p in passages:
        out[p.reference] = out.get(p.reference, 0.0) + FUSED * 10 / (10 + p.rank) / len(batches)
        if p.batch == batches[0]:
            out[p.reference] += RANK / (1 + p.rank)
    return out


def _placed(
    question: str, passages: Sequence[Passage], worth: Worth, ranks: Mapping[str, float]
) -> list[tuple[float, _Place]]:
    """The best sentence of each passage, with its score."""
    whole, looks, asked = sum(worth.values()), expected(question), frozenset(words(question))
    out = []
    for p in passages:
        where = tuple(spans(p.text))
        own = [set(stems(p.text[start:end])) for start, end in where]
        heading = set(stems(f"{p.heading} {p.reference}"))
        best, at = -1.0, 0
        for n, (start, end) in enumerate(where):
            before, after = own[n - 1] if n else set(), own[n + 1] if n + 1 < len(own) else set()
            value = sum(v * _share(t, own[n], before, after, heading) for t, v in worth.items()) / whole
            if looks and places(flat(p.text[start:end]), looks, asked):
                value += KIND
            if value > best:
                best, at = value, n
        if where:
            out.append((best + ranks.get(p.reference, 0.0), _Place(p, where, at)))
    return out


def _share(term: str, own: set[str], before: set[str], after: set[str], heading: set[str]) -> float:
    if term in own:
        return 1.0
    other = ALT if ALIKE.get(term, frozenset()) & own else 0.0
    return other + (BEFORE if term in before else AFTER if term in after else HEADING if term in heading else 0.0)


def _fitted(
    ranked: Sequence[_Place], worth: Worth, looks: Sequence[re.Pattern[str]], asked: frozenset[str]
) -> list[str]:
    """The texts of the quotes: the first ones share the room of one answer, the others have what they want."""
    top = list(ranked[:QUOTES])
    while len(top) > 1 and _room(top) < SHORTEST * len(top):
        top = top[:-1]
    left = _room(top) if top else 0
    sizes = []
    for n, place in enumerate(top):
        wanted = min(len(place.text()), FIRST if n == 0 else OTHERS, left - SHORTEST * (len(top) - n - 1))
        sizes.append(max(wanted, 1))
        left -= sizes[-1]
    out = []
    for n, place in enumerate(ranked):
        most = max(sizes[n] + left, 1) if n < len(top) else FIRST
        text = place.text()
        text = _clipped(text, most, worth, places(text, looks, asked)) if len(text) > most else place.widened(most)
        if n < len(top):
            left = max(0, most - len(text))
        out.append(text)
    return out


def _room(top: Sequence[_Place]) -> int:
    return LONGEST - sum(len(place.passage.reference) + 4 for place in top)


def _clipped(text: str, most: int, worth: Worth, marks: Sequence[tuple[int, int]]) -> str:
    """Whole words of a text, at most so many characters, where most of the question and what it asks for stands."""
    if len(text) <= most:
        return text
    hits = [(m.start(), m.end(), stem(m.group().lower())) for m in WORD.finditer(text)]
    bonus = 0.6 * max(worth.values(), default=0.0)
    best, at = float("-inf"), 0
    for match in re.finditer(r"\S+", text):
        start, end = match.start(), match.start() + most
        held = {term for first, last, term in hits if first >= start and last <= end}
        value = sum(v for t, v in worth.items() if t in held) - 0.002 * start
        value += bonus if any(first >= start and last <= end for first, last in marks) else 0.0
        if value > best + 1e-9:
            best, at = value, start
        if end >= len(text):
            break
    piece = text[at : at + most]
    return (
        piece.rpartition(" ")[0] or piece if at + most < len(text) and not text[at + most].isspace() else piece.strip()
    )
