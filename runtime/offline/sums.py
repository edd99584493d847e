"""The calculations that a question asks for, in signs or in words, as expressions for a calculator. Pure."""

import re

SIGNS = re.compile(r"(?<![\w.#/-])[-(]?\d[\d.,]*\)?(?:\s*(?:\*\*|[-+*/×÷^%])\s*\(?-?\d[\d.,]*\)?)+(?![\w/-])")
ONE = r"(?<![\w.#/-])(-?\d[\d.,]*)"
LAST = rf"{ONE}(?![\w/-])"
SPOKEN: list[tuple[re.Pattern[str], str]] = [
    (re.compile(rf"\b(?:{words})\s+{ONE}\s+(?:and|by|from)\s+{LAST}", re.I), sign)
    for words, sign in (
        ("sum of|add|adding", "{0} + {1}"),
        ("product of|multiply|multiplying", "{0} * {1}"),
        ("difference (?:of|between)", "{0} - {1}"),
        ("subtract|subtracting", "{1} - {0}"),
        ("quotient of|divide|dividing", "{0} / {1}"),
    )
] + [
    (re.compile(rf"{ONE}\s*(?:{words})\s+{LAST}", re.I), sign)
    for words, sign in (
        ("plus", "{0} + {1}"),
        ("minus|less", "{0} - {1}"),
        ("times|multiplied by", "{0} * {1}"),
        ("divided by", "{0} / {1}"),
        ("%|per ?cent of|% of", "{0} / 100 * {1}"),
    )
]  # fmt: skip


def sums(question: str) -> list[str]:
    """The expressions in a question; of more than two numbers only where they are written in signs."""
    written = [_plain(found) for found in SIGNS.findall(question)]
    return written or [sign.format(*map(_plain, m.groups())) for said, sign in SPOKEN for m in said.finditer(question)]


def _plain(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", text).replace("^", "**").strip().rstrip(".,")
