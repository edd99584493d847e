"""Sections by headings: Markdown, and text whose headings are underlined (reStructuredText, many a README).

Both scan line by line in time proportional to the text; neither is a full parser, and text they do not
understand stays as it is.
"""

import io
import re
from collections.abc import Iterator

from tools.passages import Section

LONGEST_TITLE = 200  # characters; a longer line over an underline is a paragraph


class Outline:
    """The sections of a document as its headings come by: a heading ends the section before it."""

    def __init__(self, title: str = "") -> None:
        self.title = title
        self._open: list[tuple[int, str]] = []
        self.body: list[str] = []

    def end(self, *, deeper: int = 0) -> Iterator[Section]:
        """The section so far, if it holds anything. A bare heading counts unless a deeper one follows it."""
        text, self.body = "".join(self.body), []
        level, anchor = self._open[-1] if self._open else (0, "")
        if not text.strip():
            text = "" if deeper > level else anchor
        if text:
            yield Section(self._trail(), text, anchor)

    def begin(self, level: int, title: str) -> Iterator[Section]:
        """Ends the section so far and begins the one under this heading; level 1 is the highest."""
        yield from self.end(deeper=level)
        self._open = [*(each for each in self._open if each[0] < level), (level, title)]

    def _trail(self) -> tuple[str, ...]:
        titles = tuple(title for _, title in self._open)
        return titles if not self.title or titles[:1] == (self.title,) else (self.title, *titles)


def markdown(text: str) -> Iterator[Section]:
    """Sections under `#` and underlined headings; code in fences holds none; front matter may name the title."""
    front, text = _front_matter(text)
    title = re.search(r"^title:[ \t]*(\S.{0,200})", front, re.MULTILINE)
    outline = Outline(title.group(1).strip(" \"'") if title else "")
    outline.body.append(front)
    fence = ""
    for line in io.StringIO(text):
        bare = line.strip()
        mark = bare[:3]
        if fence or mark in ("```", "~~~"):
            # The opening fence may carry a language; the closing one is nothing but its marks, and as long.
            if not fence:
                fence = bare[: len(bare) - len(bare.lstrip(mark[0]))]
            elif bare.startswith(fence) and not bare.strip(fence[0]):
                fence = ""
        elif bare.startswith("#") and not line.startswith("    "):
            level = len(bare) - len(bare.lstrip("#"))
            heading = _spoken(bare.lstrip("#"))
            if level <= 6 and heading and bare[level] in " \t":
                yield from outline.begin(level, heading)
                continue
        elif bare and set(bare) in ({"="}, {"-"}) and _title_above(outline.body):
            heading = _spoken(outline.body.pop())
            yield from outline.begin(1 if bare[0] == "=" else 2, heading)
            continue
        outline.body.append(line)
    yield from outline.end()


def underlined(text: str) -> Iterator[Section]:
    """Sections under headings with a line of one repeated mark below, or also above; levels by first appearance."""
    outline = Outline()
    levels: dict[tuple[str, bool], int] = {}
    for line in io.StringIO(text):
        mark = _adornment(line)
        body = outline.body
        title = body[-1].strip() if body else ""
        overlined = len(body) > 1 and _adornment(body[-2]) == mark != ""
        alone = overlined or len(body) < 2 or not body[-2].strip()
        fits = 0 < len(title) <= LONGEST_TITLE and len(line.rstrip()) >= min(len(title), 4)
        worded = any(character.isalnum() for character in title)
        if mark and fits and worded and alone and (overlined or not body[-1][0].isspace()):
            del body[-2 if overlined else -1 :]
            level = levels.setdefault((mark, overlined), len(levels) + 1)
            yield from outline.begin(level, title)
        else:
            body.append(line)
    yield from outline.end()


def _front_matter(text: str) -> tuple[str, str]:
    """The YAML between the `---` lines at the very start, without them, and the rest."""
    if not text.startswith("---\n"):
        return "", text
    end = text.find("\n---\n", 3, 20_000)
    return (text[4 : end + 1] + "\n", text[end + 5 :]) if end > 0 else ("", text)


def _title_above(body: list[str]) -> bool:
    """Whether the line above is one paragraph of one line: no list item, quote, table row or code."""
    if not body or not body[-1].strip() or len(body[-1]) > LONGEST_TITLE:
        return False
    alone = len(body) < 2 or not body[-2].strip()
    return alone and not re.match(r"    |\t|\s*([-*+>|]|\d+[.)])", body[-1])


def _spoken(title: str) -> str:
    """A heading without its markup: closing marks, links, emphasis, code."""
    short = title.strip()[:LONGEST_TITLE].rstrip("#").rstrip()
    short = re.sub(r"\{[#.:][^{}]*\}$", "", short)
    short = re.sub(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])", r"\1", short)
    return re.sub(r"[*`]+|<[^<>]*>", "", short).strip()


def _adornment(line: str) -> str:
    """The mark that the whole line repeats, three times or more; empty for any other line."""
    bare = line.rstrip()
    first = bare[:1]
    return first if len(bare) >= 3 and first in "=-~^\"'`#*+.:_<>" and not bare.strip(first) else ""
