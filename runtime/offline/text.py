"""Words, stems and sentences of a text: what the offline model compares by. Pure and deterministic."""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

STOP = frozenset(
    """
    a about above after again against all also am an and any are as at be because been before being below
    between both but by can cannot could did do does doing done down during each else etc even ever every few
    for from further get gets give given go goes got had has have having he her here hers him his how however i
    if in into is it its itself just keep let like made make makes many may me might mine more most much must my
    need needs no nor not now of off on once one only onto or other our ours out over own per please rather
    really same say says shall she should so some such take tell than that the their theirs them then there
    these they thing things this those though through to too under until up upon us use used uses using very
    want was way we were what whatever when where whether which while who whole whom whose why will with within
    without would yes you your yours there's it's don't doesn't isn't aren't can't won't i'm i've we're you're
    that's what's
    """.split()  # noqa: SIM905  # words read best as words
)

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
TOKEN = re.compile(r"\w+|[^\w\s]")


def count_tokens(text: str) -> int:
    """Tokens as this model counts them: a run of word characters is one for every six of them, a sign is one."""
    return sum(-(-len(token) // 6) for token in TOKEN.findall(text))


def cut_tokens(text: str, most: int) -> str:
    """The longest beginning of a text that has at most so many tokens and ends with a whole one."""
    used = end = 0
    for match in TOKEN.finditer(text):
        used += -(-len(match.group()) // 6)
        if used > most:
            return text[:end]
        end = match.end()
    return text


def words(text: str) -> list[str]:
    """The words of a text in lower case; names like `read_only` and `core.bare` come apart."""
    return [match.group().replace("’", "'") for match in WORD.finditer(text.lower())]


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """A word without its English inflection, roughly: `packages`, `packaging` and `packaged` become `packag`."""
    if len(word) <= 3 or not word.isascii() or any(c.isdigit() for c in word):
        return word
    word = word.removesuffix("'s")
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: len(word) - len(ending)] + instead
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    if len(word) > 3 and word[-1] == "e":
        word = word[:-1]
    return f"{word[:-1]}i" if len(word) > 3 and word[-1] == "y" else word


_ENDINGS = [
    ("ization", "iz"), ("isation", "iz"), ("ational", "at"), ("fulness", "ful"), ("ations", "at"), ("ation", "at"),
    ("ising", "iz"), ("izing", "iz"), ("ised", "iz"), ("ized", "iz"), ("ises", "iz"), ("izes", "iz"), ("ise", "iz"),
    ("ize", "iz"), ("sses", "ss"), ("ments", "ment"), ("nesses", ""), ("ness", ""), ("ings", ""), ("ing", ""),
    ("ions", ""), ("ion", ""), ("ies", "i"), ("ied", "i"), ("edly", ""), ("ed", ""), ("ers", "er"), ("ably", ""),
    ("able", ""), ("ible", ""), ("ally", "al"), ("ly", ""), ("es", ""), ("ss", "ss"), ("us", "us"), ("s", ""),
]  # fmt: skip


def stems(text: str) -> list[str]:
    """The stems of all words of a text, in order."""
    return [stem(word) for word in words(text)]


def terms(text: str) -> list[str]:
    """The stems of the words that carry meaning, each once, in order."""
    return list(dict.fromkeys(stem(word) for word in words(text) if word not in STOP and len(word) > 1))


def flat(text: str) -> str:
    """A text with every run of white space as one blank."""
    return " ".join(text.split())


_BLOCK = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|\Z))+")
_RULE = re.compile(r"(?:\A|\s*\n)[ \t]*\|[ \t:|-]*---[ \t:|-]*(?:\n|\Z)")  # under the head of a table
_ITEM = re.compile(r"\s*(?:[-*+•|>]\s|\d{1,3}[.)]\s|\.\. |[-=~^]{3,}|@|:\w+:)")
_COMMENT = re.compile(r"\s*(?:#+|//|;+)(?:\s|$)")
_SETTING = re.compile(r"\s*[#;]?\s?[\w.-]+(?:\s*=\s*\S|\s*[=:]\s*\S*\s*$)")
NARROW, FULL, HALF = 45, 0.85, 25  # characters of a narrow column; the share of a full line; what may be half a line
_STOP = re.compile(r"(?:(?<=[.!?。！？])|(?<=[.!?][\"')\]”’*`_]))\s+(?=(?:[#;]+ )?[\"'(\[“‘*`_]*[A-Z0-9À-ÞА-Я一-鿿])")
_NUMBER = re.compile(r"\W*(?:\d+\.)+\W*")  # of a section or an item: the text after it belongs to it
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'])(?:e\.g|i\.e|etc|vs|cf|approx|resp|fig|sec|ch|dr|mr|mrs|ms|st|[A-Z])\.$", re.I
)


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each sentence, list item, table row or line of code of a text begins and ends; a table's head is none."""
    start = 0
    for end, after in [*_breaks(text), (len(text), len(text))]:
        for first, last in _sentences(text, start, end):
            if not _RULE.search(text[first:last]) and not _RULE.match(text, last):
                yield first, last
        start = after


def sentences(text: str) -> list[str]:
    """The sentences of a text, white space evened out."""
    return [flat(text[start:end]) for start, end in spans(text)]


def _breaks(text: str) -> Iterator[tuple[int, int]]:
    """Where paragraphs, items and settings end, and lines that end long before the line is full."""
    for block in _BLOCK.finditer(text):
        begin = block.start()
        lines = block.group().rstrip("\n").split("\n")
        width = max(NARROW, *(len(line.strip()) for line in lines))
        for line, following in pairwise(lines):
            end = begin + len(line)
            if not _goes_on(line, following, width):
                yield end, end + 1
            begin = end + 1
        yield begin + len(lines[-1]), block.end()


def _goes_on(line: str, following: str, width: int) -> bool:
    """Whether a line is only wrapped here. A comment goes on in the next one, and in the setting it is about."""
    if _ITEM.match(following):
        return False
    if _COMMENT.match(line):
        return bool(_SETTING.match(following) or (_COMMENT.match(following) and WORD.search(line)))
    if _COMMENT.match(following) or _SETTING.match(following) or _SETTING.match(line):
        return False
    if _ITEM.match(line) and _indent(following) > _indent(line):
        return True
    first, length = following.split(None, 1)[0], len(line.strip())
    return length + 1 + len(first) > FULL * width or (first[:1].islower() and length > HALF)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for stop in _STOP.finditer(text, start, end):
        if _NUMBER.fullmatch(text, begin, stop.start()) or _ABBREVIATION.search(
            text, max(begin, stop.start() - 8), stop.start()
        ):
            continue
        yield from _trimmed(text, begin, stop.start())
        begin = stop.end()
    yield from _trimmed(text, begin, end)


def _trimmed(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[begin:end]
    kept = piece.strip()
    if any(c.isalnum() for c in kept):
        begin += len(piece) - len(piece.lstrip())
        yield begin, begin + len(kept)
