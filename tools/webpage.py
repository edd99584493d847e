"""Sections of an HTML page: its readable text under its headings, without scripts, styles and menus.

A scanner of our own: `html.parser` takes quadratic time on markup that never closes (20,000 times
`<a ` costs it half a minute), and a folder nobody prepared may hold just that.
"""

import html
import re
from collections.abc import Iterator

from tools.headings import Outline
from tools.passages import Section

DROPPED = {"script", "style", "nav", "noscript", "template", "svg"}
VERBATIM = {"script", "style"}  # what looks like a tag inside these is not one
_BLOCKS = """
address article aside blockquote body br dd details div dl dt fieldset figcaption figure footer form header hr li
main ol p pre section summary table tbody tfoot thead tr ul
"""
BLOCKS = frozenset(_BLOCKS.split())
HEADING = re.compile(r"h[1-6]")
TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
MARKUP = re.compile(r"<(?=[a-zA-Z/!?])")  # any other "<" is text
LINES = {"br", "tr", "li", "dt", "dd"}


def webpage(text: str) -> Iterator[Section]:
    """The page's sections by h1 to h6, titled by its <title>. Time is proportional to the page, broken or not."""
    outline = Outline()
    heading: list[str] | None = None
    in_title = False
    dropped, depth, verse = "", 0, 0
    for closing, tag, words in _tokens(text):
        if tag == "title" and not dropped:
            in_title = not closing and not outline.title
        elif dropped:
            # Only the tag that opened the dropped part can close it, however the rest is nested.
            depth += (-1 if closing else 1) if tag == dropped else 0
            dropped = dropped if depth else ""
        elif tag in DROPPED and not closing:
            dropped, depth = tag, 1
        elif HEADING.fullmatch(tag):
            if closing and heading is not None:
                spoken = " ".join("".join(heading).split()).rstrip("¶# ")  # marks that link to the heading itself
                if spoken:
                    yield from outline.begin(int(tag[1]), spoken)
            heading = None if closing else []
        elif tag == "pre":
            verse = max(0, verse + (-1 if closing else 1))
        if dropped:
            continue
        plain = html.unescape(words)
        if in_title:
            outline.title = " ".join(plain.split())[:200]
            continue
        target = outline.body if heading is None else heading
        target.append(_mark(tag, closing))
        target.append(plain if verse else re.sub(r"\s+", " ", plain))
    yield from outline.end()


def _mark(tag: str, closing: bool) -> str:
    """What stands in the text where a tag was."""
    if tag in ("td", "th"):
        return "" if closing else " | "
    if tag == "li" and not closing:
        return "\n- "
    if tag in LINES:
        return "\n"
    return "\n\n" if tag in BLOCKS else ""


def _tokens(text: str) -> Iterator[tuple[bool, str, str]]:
    """Each tag (whether it closes, its lower-case name) with the text that follows it; comments vanish."""
    yield False, "", text[: _next(text, 0)]
    start = _next(text, 0)
    quotes = True
    while start < len(text):
        closing, tag = False, ""
        match = TAG.match(text, start)
        if match:
            closing, tag = match.group(1) == "/", match.group(2).lower()
            end = text.find(">", match.end())
            if end > 0 and quotes and text.count('"', start, end) % 2:
                # A ">" within quotes ends nothing. Once no quote follows, looking again would cost a pass each time.
                quote = text.find('"', end)
                quotes = quote > 0
                end = text.find(">", quote) if quotes else end
        elif text.startswith("<!--", start):
            end = text.find("-->", start + 4)
            end = end + 2 if end > 0 else end
        else:
            end = text.find(">", start)
        if end < 0:
            return  # it never closes: nothing readable follows
        following = _next(text, end + 1)
        if tag in VERBATIM and not closing:
            close = re.compile(rf"</{tag}", re.IGNORECASE).search(text, end + 1)
            following = close.start() if close else len(text)
        yield closing, tag, text[end + 1 : following]
        start = following


def _next(text: str, start: int) -> int:
    match = MARKUP.search(text, start)
    return match.start() if match else len(text)
