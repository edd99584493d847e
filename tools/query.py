"""From what a person asks to what the full-text index is asked."""

import re
import unicodedata

MOST_TERMS = 48  # a whole pasted page adds time and noise, not meaning, and FTS5 bounds its expressions

_STOP_WORDS = """
a about am an and any are as at be because been being but by can could did do does doing done for from had has
have having he her hers him his how i if in into is it its itself let me more most my of on once or our ours out
please s say says shall she should so some such t tell than that the their theirs them then there these they this
those through to too us very was we were what when where which while who whom whose why will with would you your
yours
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def terms(query: str) -> list[str]:
    """What is searched for, in the order asked, each once: words that carry meaning, then compounds as phrases.

    `the read-only mode in 3.11?` gives `read`, `only`, `mode`, `read only`, `3 11`: the short numbers of a
    version or a date mean nothing apart.
    """
    text = unicodedata.normalize("NFC", query).lower()
    words: dict[str, None] = {}
    phrases: dict[str, None] = {}
    for compound in re.finditer(r"[^\W_]+(?:[-._/'\u2019][^\W_]+)*", text):
        pieces = re.findall(r"[^\W_]+", compound.group())
        alone = pieces if len(pieces) == 1 else [piece for piece in pieces if len(piece) > 2 or piece.isalpha()]
        words.update(dict.fromkeys(piece for piece in alone if piece not in STOP_WORDS))
        if len(pieces) > 1 and not STOP_WORDS.issuperset(pieces):
            phrases[" ".join(pieces)] = None
        if len(words) + len(phrases) >= MOST_TERMS:
            break
    return [*words, *phrases][:MOST_TERMS]


def expression(query: str) -> str:
    """An FTS5 expression that any one of the terms satisfies; empty where the query holds none.

    Every term is quoted and consists of letters and digits, so nothing a person types is syntax.
    """
    return " OR ".join(f'"{term}"' for term in terms(query))
