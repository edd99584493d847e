"""Which words of which passages answer a question, and how surely. Pure.

An answer has room for few words, so they are chosen by what they are worth for their length: the chance that
a sentence holds the answer, and the chance of its passage where that is not quoted yet. A sentence next to
one that is chosen needs no reference of its own. What has no room whole is clipped to its best words.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runtime.offline.evidence import Passage
from runtime.offline.expecting import expected, places
from runtime.offline.text import WORD, flat, stem, words
from runtime.offline.weighing import Sentence, Weighed, weigh
from runtime.offline.worth import Worth, demand_of, worth_of

LONGEST = 400  # characters of an answer, references included
QUOTES = 6  # quotes of one answer
LONG, SHORTEST = 300, 60  # characters of the longest sentence that is not clipped, and of what is worth quoting
LIKELIEST = 60  # sentences that are looked at
SEEN = 5  # likeliest passages, by the best of which it is judged whether the question is answered at all
ENOUGH = 0.70  # coverage without which nothing was found, of a very short question
WEAK = 0.45  # of the best coverage; a passage that speaks of less of the question is left out
STORY, STORIES = 0.002, 150  # less for each character, up to so many: long questions tell a story around what they ask


@dataclass(frozen=True, slots=True)
class Quote:
    """A verbatim piece of a passage. `score` is the passage's chance to answer, `coverage` the share of the question
    that it speaks of.

    `sql` is the SELECT, where the words are rows of a table.
    """

    text: str
    reference: str
    score: float
    coverage: float
    heading: str = ""
    sql: str = ""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Sentences of a passage in a row, from one to another; of one that is clipped, `most` characters."""

    of: Weighed
    first: int
    last: int
    most: int | None = None

    def touches(self, sentence: Sentence) -> bool:
        """Whether the sentence stands right before or after, so that both make one quote."""
        return sentence.of is self.of and sentence.n in (self.first - 1, self.last + 1) and self.most is None

    def joined(self, sentence: Sentence) -> "_Piece":
        """Both in one."""
        return replace(self, first=min(self.first, sentence.n), last=max(self.last, sentence.n))


def quotes(
    question: str,
    passages: Sequence[Passage],
    counts: Mapping[str, int] | None = None,
    size: int = 0,
    *,
    room: int = LONGEST,
) -> tuple[list[Quote], float]:
    """What fits in one answer, best first, then the likeliest sentence of each passage not quoted in it; how surely."""
    counts = counts or {}
    worth = worth_of(question, passages, counts, size)
    if not worth:
        return [], 0.0
    found, said = weigh(question, passages, worth, demand_of(question, passages, counts, size))
    least = WEAK * max((each.met for each in found[:SEEN]), default=0.0)
    said = [sentence for sentence in said if sentence.of.met >= least]
    pieces = _chosen(said[:LIKELIEST], room)
    used = {id(piece.of) for piece in pieces}
    for sentence in said:
        if id(sentence.of) not in used:
            used.add(id(sentence.of))
            pieces.append(_Piece(sentence.of, sentence.n, sentence.n, LONG))
    looks, asked = expected(question), frozenset(words(question))
    out = []
    for piece in pieces:
        text, passage = piece.of.text(piece.first, piece.last), piece.of.passage
        if piece.most is not None:
            text = _clipped(text, piece.most, worth, places(text, looks, asked))
        out.append(Quote(text, passage.reference, piece.of.chance, piece.of.met, passage.heading))
    return out, _sure(found)


def _sure(found: Sequence[Weighed]) -> float:
    """The share of the question that is answered: between that of the passage expected and that of the best."""
    likely = sum(each.chance * each.met for each in found)
    return (likely + max((each.met for each in found[:SEEN]), default=0.0)) / 2


def answering(
    question: str,
    passages: Sequence[Passage],
    counts: Mapping[str, int],
    size: int,
    *,
    strict: bool,
    room: int = LONGEST,
) -> list[Quote]:
    """The quotes worth saying: where documents were searched, only with enough coverage; else the material at hand.

    The best of them fit into `room` characters, sources included.
    """
    told = [p for p in passages if p.sure is not None]
    if told and len(told) == len(passages):  # chosen and weighed already: kept as they are
        kept = sorted(told, key=lambda p: -(p.sure or 0))
        return [Quote(flat(p.text), p.reference, p.sure or 0, p.sure or 0, p.heading) for p in kept]
    found, sure = quotes(question, passages, counts, size, room=room)
    if strict:
        least = ENOUGH - STORY * min(len(question), STORIES)
        return [replace(q, coverage=sure * 0.98**n) for n, q in enumerate(found)] if sure >= least else []
    return found or [Quote(_clipped(flat(p.text), LONG, {}, []), p.reference, 0, 0, p.heading) for p in passages]


def compose(found: Sequence[Quote], *, most: int = LONGEST) -> str:
    """The quotes in order, each with its reference right after it, as many as there is room for.

    What was computed stands in no passage. It has room first and comes last, so that no citation seems to hold it.
    """
    figures = _within([(q.text, f"{q.text} (from {q.reference})") for q in found if "#" not in q.reference], most)
    left = most - len(figures) - bool(figures)
    cited = _within(
        [(q.text, f"{q.text} [{q.reference}]") for q in found if "#" in q.reference], left, some=bool(figures)
    )
    return f"{cited} {figures}".strip()


def _within(pieces: Sequence[tuple[str, str]], most: int, *, some: bool = False) -> str:
    """The pieces there is room for, none said twice; the first in any case, unless there is `some` text already."""
    out, said = "", 0
    for text, piece in pieces:
        fits = len(out) + bool(out) + len(piece) <= most
        if said < QUOTES and text not in out and (fits or not (out or some)):
            out, said = f"{out} {piece}".strip(), said + 1
    return out


@dataclass(frozen=True, slots=True)
class _Offer:
    """What taking a sentence would give: the pieces there would be, the characters it costs, and its worth for each."""

    pieces: list[_Piece]
    cost: int
    rate: float


def _chosen(said: Sequence[Sentence], room: int) -> list[_Piece]:
    """The pieces of one answer: again and again what is worth most for its length, while anything has room."""
    pieces: list[_Piece] = []
    open_, left = list(said), room
    while open_:
        offers = [_offer(sentence, pieces, left) for sentence in open_]
        best = max(range(len(offers)), key=lambda n: offers[n].rate)
        if offers[best].rate <= 0:
            break
        pieces, left = offers[best].pieces, left - offers[best].cost
        del open_[best]
    return pieces


def _offer(sentence: Sentence, pieces: list[_Piece], left: int) -> _Offer:
    """A sentence beside a piece makes that longer; another is a piece of its own, which is clipped to the room."""
    length = sentence.length
    for n, piece in enumerate(pieces):
        if piece.touches(sentence):
            longer = [*pieces[:n], piece.joined(sentence), *pieces[n + 1 :]]
            rate = sentence.chance / max(length + 1, SHORTEST) if length < left else 0.0
            return _Offer(longer, length + 1, rate)
    source = len(sentence.of.passage.reference) + 4
    size = min(length, LONG, left - source)
    if len(pieces) == QUOTES or size < min(length, SHORTEST):
        return _Offer(pieces, 0, 0.0)
    value = sentence.chance * math.sqrt(size / length)
    if all(piece.of is not sentence.of for piece in pieces):
        value += sentence.of.chance
    new = _Piece(sentence.of, sentence.n, sentence.n, size if size < length else None)
    return _Offer([*pieces, new], size + source, value / (max(size, SHORTEST) + source))


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
