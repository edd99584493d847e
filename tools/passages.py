"""Passages: the pieces of a document that are found, read and cited."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tools.names import Unique, reference, slug

SHORTEST, LONGEST, TAIL = 600, 1200, 300  # characters; a remainder shorter than TAIL would say too little alone


@dataclass(frozen=True, slots=True)
class Section:
    """What a reader finds in a document: its heading trail, its text, and what to call it.

    `anchor` names the section within its file (a heading, `page 3`); empty for text under no heading.
    """

    trail: tuple[str, ...]
    text: str
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, 600 to 1,200 characters where the section is long enough.

    `file` is a POSIX path relative to the folder; `section` is unique in its file and stays the same
    while the headings before it do; `heading` is the trail from the title down; `position` counts the
    file's passages from 0; `score` is BM25, higher is better, and 0 outside a search.
    """

    file: str
    section: str
    text: str
    heading: str = ""
    position: int = 0
    score: float = 0.0

    @property
    def reference(self) -> str:
        """What a citation holds between its brackets: `file#section`."""
        return reference(self.file, self.section)


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage before it is stored; pieces of one section share its number, `unit`."""

    unit: int
    section: str
    heading: str
    text: str


def pieces(sections: Iterable[Section]) -> Iterator[Piece]:
    """The sections cut into pieces, each with an anchor of its own: `refunds`, `refunds-part-2`, `refunds-2`."""
    unique = Unique()
    unheaded = 0
    for unit, section in enumerate(sections):
        heading = _storable(" > ".join(" ".join(title.split())[:160] for title in section.trail))
        base = slug(section.anchor)
        name = ""
        for number, text in enumerate(cut(section.text), start=1):
            if not base:
                unheaded += 1
                anchor = unique(f"part-{unheaded}")
            elif number == 1:
                anchor = name = unique(base)
            else:
                anchor = unique(f"{name}-part-{number}")
            yield Piece(unit, anchor, heading, text)


def cut(text: str) -> Iterator[str]:
    """The text in pieces, on the best boundary in reach: a paragraph's end, a sentence's, a line's, a word's.

    Takes time in proportion to the text, whatever is in it. Nothing but white space is lost.
    """
    start, end = 0, len(text)
    while start < end:
        rest = end - start
        size = rest
        if rest > LONGEST:
            window = text[start : start + min(LONGEST, rest - TAIL)]
            size = next((at for at in (_last(boundary, window) for boundary in _BOUNDARIES) if at), len(window))
        piece = _storable(text[start : start + size].strip("\n").rstrip())
        if piece.strip():
            yield piece
        start += size


_BOUNDARIES = [re.compile(p) for p in (r"\n[^\S\n]*\n", r"[.!?\u3002\uff01\uff1f][\"')\]]*\s", r"\n", r"\s")]


def _last(boundary: re.Pattern[str], window: str) -> int:
    """Where the last boundary past the shortest length ends, or 0."""
    return max((match.end() for match in boundary.finditer(window, SHORTEST)), default=0)


def _storable(text: str) -> str:
    """Without what SQLite cannot keep: NUL, and halves of surrogate pairs."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()
