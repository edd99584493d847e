"""Names that are safe to cite, to write and to query: slugs, unique names, and references to passages."""

import re
import unicodedata
from urllib.parse import unquote

RESERVED = frozenset("[]#%,;<>|*`\"'()\\")


def slug(text: str, *, separator: str = "-", limit: int = 60) -> str:
    """Letters and digits of any script in lower case, with one separator between words; may be empty."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text[: limit * 8]).lower())
    return separator.join(words)[:limit].strip(separator)


class Unique:
    """Hands out each name once: a repeat becomes `name-2`, then `name-3`. Constant time for each."""

    def __init__(self, *, separator: str = "-") -> None:
        self._separator = separator
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def __call__(self, name: str) -> str:
        """The name, or the first variation of it that is free."""
        unique, number = name, self._next.get(name, 2)
        while unique in self._taken:
            unique, number = f"{name}{self._separator}{number}", number + 1
        self._next[name] = number
        self._taken.add(unique)
        return unique


def reference(file: str, section: str) -> str:
    """`file#section`, with what would end or split a citation percent-encoded: `a b.md` is `a%20b.md`.

    A reference holds no white space, bracket, comma or second `#`, so that `[^\\s\\[\\],;#]+#[^\\s\\[\\],;#]+`
    finds each one in running text, also where several stand in one pair of brackets.
    """
    return f"{_encode(file)}#{_encode(section)}"


def parts(text: str) -> tuple[str, str | None]:
    """The file and the section of a reference, with or without its brackets; no `#`, no section."""
    bare = text.strip().removeprefix("[").removesuffix("]").strip()
    file, mark, section = bare.rpartition("#")
    return (unquote(file), unquote(section)) if mark else (unquote(bare), None)


def _encode(name: str) -> str:
    return "".join(c if c.isprintable() and not c.isspace() and c not in RESERVED else _percent(c) for c in name)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
