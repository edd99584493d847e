"""Which sentences of which passages answer a question, and how surely: overlap weighed by rarity. Pure."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.evidence import Passage
from runtime.text import flat, spans, stems, terms

LONGEST = 400  # characters of an answer, references included
NEAR = 220  # characters of one quote


@dataclass(frozen=True, slots=True)
class Quote:
    """A verbatim piece of a passage. `score` orders quotes, `coverage` is the share of the question it speaks of."""

    text: str
    reference: str
    score: float
    coverage: float
    heading: str = ""


def weights(question: str, passages: Sequence[Passage], counts: Mapping[str, int], size: int) -> dict[str, float]:
    """What each term of the question is worth: the rarer, the more. `counts` of `size` where a tool told them."""
    wanted = terms(question)
    known: dict[str, int] = {}
    for word, count in counts.items():
        for term in terms(word):
            known[term] = max(known.get(term, 0), count)
    pool = [set(stems(f"{p.heading} {p.text}")) for p in passages]
    out = {}
    for term in wanted:
        if size and term in known:
            share = (known[term] + 0.5) / (size + 1)
        else:
            share = (sum(term in p for p in pool) + 0.5) / (len(pool) + 1)
        out[term] = max(0.1, -math.log(min(share, 0.95)))
    return out


def quotes(
    question: str, passages: Sequence[Passage], counts: Mapping[str, int] | None = None, size: int = 0
) -> list[Quote]:
    """The best quote of each passage, best first."""
    unique = list({(p.reference, p.text): p for p in reversed(passages)}.values())[::-1]
    worth = weights(question, unique, counts or {}, size)
    if not worth:
        return []
    fused = _fused(passages)
    whole = sum(worth.values())
    out = []
    for p in unique:
        found = _best(p, worth)
        if found is None:
            continue
        text, value, covered = found
        score = value / whole + 3 * fused.get(p.reference, 0.0)
        out.append(Quote(text, p.reference, score, covered / whole, p.heading))
    return sorted(out, key=lambda q: (-q.score, q.reference))


def _fused(passages: Sequence[Passage]) -> dict[str, float]:
    """Reciprocal ranks, summed over the results a passage came up in."""
    out: dict[str, float] = {}
    for p in passages:
        out[p.reference] = out.get(p.reference, 0.0) + 1 / (20 + p.rank)
    return out


def _best(passage: Passage, worth: Mapping[str, float]) -> tuple[str, float, float] | None:
    parts = [(start, end, set(stems(passage.text[start:end]))) for start, end in spans(passage.text)]
    if not parts:
        return None
    heading = set(stems(passage.heading)) & worth.keys()
    everything = set().union(*(p[2] for p in parts)) & worth.keys() | heading
    best, at = -1.0, 0
    for n, (_, _, own) in enumerate(parts):
        near = set().union(*(p[2] for p in parts[max(0, n - 1) : n + 2]))
        value = sum(w * (1.0 if t in own else 0.5 if t in near else 0.35 if t in heading else 0) for t, w in worth.items())
        if value > best:
            best, at = value, n
    start, end, _ = parts[at]
    if at + 1 < len(parts) and parts[at + 1][1] - start <= NEAR:
        end = parts[at + 1][1]
    text = flat(passage.text[start:end])
    value = best + 0.3 * sum(worth[t] for t in everything)
    near = set().union(*(p[2] for p in parts[max(0, at - 1) : at + 2])) | heading
    return _clipped(text, worth), value, sum(worth[t] for t in near & worth.keys())


def _clipped(text: str, worth: Mapping[str, float], most: int = NEAR) -> str:
    """A piece of a text of at most so many characters, whole words, where the words of the question stand."""
    if len(text) <= most:
        return text
    starts = [m.start() for m in re.finditer(r"\S+", text)]
    best, at = -1.0, 0
    for start in starts:
        piece = set(stems(text[start : start + most]))
        value = sum(w for t, w in worth.items() if t in piece)
        if value > best:
            best, at = value, start
        if start + most >= len(text):
            break
    piece = text[at : at + most]
    return piece if at + most >= len(text) else piece[: piece.rfind(" ")] if " " in piece else piece


def compose(found: Sequence[Quote], *, most: int = LONGEST) -> str:
    """The quotes in order, each with its reference right after it, as many as there is room for."""
    out = ""
    for quote in found:
        piece = f"{quote.text} [{quote.reference}]"
        if quote.text in out:
            continue
        if out and len(out) + 1 + len(piece) > most:
            continue
        out = f"{out} {piece}".strip()
    return out
