"""What each kind of file says: bytes in, sections of text out."""

import codecs
import io
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath

from state.errors import DocumentError
from tools import separated
from tools.headings import markdown, underlined
from tools.passages import Section
from tools.webpage import webpage

ROWS, ROW_CHARACTERS = 50, 1100  # of a table in one passage
PDF_SECONDS = 120

BARE = {"readme", "license", "copying", "notice", "changelog", "changes", "news", "authors", "history", "todo", "faq"}
MARKS = [
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]


def kind(file: str) -> str:
    """How the file is read: `markdown`, `text`, `html`, `pdf`, `csv`, `tsv`; empty where nobody knows."""
    path = PurePosixPath(file)
    known = _KINDS.get(path.suffix.lower(), "")
    first = path.name.partition(".")[0]  # README.Debian, NEWS.old, FEATURES: named for people to read
    return known or ("text" if first.lower() in BARE or (first.isupper() and len(first) > 2) else "")


def sections(file: str, data: bytes) -> Iterator[Section]:
    """The sections of a file of a known kind; where it has no title, its name serves.

    Raises DocumentError with the reason where it holds no text: empty, binary, encrypted, broken.
    """
    if not data.strip():
        raise DocumentError("empty")
    stem = " ".join(re.split(r"[\s_-]+", PurePosixPath(file).stem)).strip() or file
    for section in _READERS[kind(file)](data):
        yield Section(section.trail or (stem,), section.text, section.anchor)


def encoding_of(data: bytes) -> str:
    """The encoding of a text, judged by its bytes or by its first million. Raises DocumentError for what is no text."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return encoding
    if b"\0" in data:
        raise DocumentError("binary: it holds NUL bytes")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)  # where the bytes stop within a character, no matter
        return "utf-8"
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    # A damaged UTF-8 file still holds more whole characters than broken ones; a file in an old
    # single-byte encoding hardly any.
    whole = len(re.findall(r"[^\x00-\x7f\ufffd]", text))
    return "utf-8" if whole >= text.count("\ufffd") else "cp1252"


def decoded(data: bytes) -> str:
    """The text of bytes in an encoding nobody told us, damage replaced, lines ending in `\\n`.

    Raises DocumentError where they are no text.
    """
    return _lines(data.decode(encoding_of(data), "replace"))


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _markdown(data: bytes) -> Iterator[Section]:
    return markdown(decoded(data))


def _text(data: bytes) -> Iterator[Section]:
    return underlined(decoded(data))


def _html(data: bytes) -> Iterator[Section]:
    declared = re.search(rb"<meta[^>]{0,200}charset=[\"']?([\w-]{1,40})", data[:4096], re.IGNORECASE)
    if declared:
        try:
            return webpage(_lines(data.decode(declared.group(1).decode())))
        except (LookupError, UnicodeDecodeError, ValueError):
            pass  # declared wrongly: judged like any other bytes
    return webpage(decoded(data))


def _csv(data: bytes) -> Iterator[Section]:
    return _table(decoded(data), tabs=False)


def _tsv(data: bytes) -> Iterator[Section]:
    return _table(decoded(data), tabs=True)


def _table(text: str, *, tabs: bool) -> Iterator[Section]:
    """Blocks of rows; each row says its columns' names, so that it can be understood and cited alone."""
    source = separated.rows(io.StringIO(text, newline=""), tabs=tabs)
    header = next(source, [])
    block: list[str] = []
    size = first = 0
    for number, row in enumerate(source, start=1):
        names = [*header, *(f"column_{at}" for at in range(len(header) + 1, len(row) + 1))]
        line = "; ".join(f"{name}: {cell}" if name else cell for name, cell in zip(names, row, strict=False) if cell)
        if block and (len(block) == ROWS or size + len(line) > ROW_CHARACTERS):
            yield Section((), "\n".join(block), f"rows {first} {number - 1}")
            block, size = [], 0
        first = first if block else number
        block.append(line)
        size += len(line) + 1
    if block:
        yield Section((), "\n".join(block), f"rows {first} {first + len(block) - 1}")
    else:
        yield Section((), "; ".join(header), "columns")


def _pdf(data: bytes) -> Iterator[Section]:
    import pypdf  # half a second, and most folders hold no PDF

    # It logs each of the many flaws it repairs; what it cannot repair it raises.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    began, empty = time.monotonic(), True
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError("encrypted: save it without a password")
        title = str((reader.metadata and reader.metadata.title) or "").strip()
        for number, page in enumerate(reader.pages, start=1):
            text = page.extract_text()
            if text.strip():
                empty = False
                yield Section((title, f"page {number}") if title else (), text, f"page {number}")
            if time.monotonic() - began > PDF_SECONDS:
                raise DocumentError(f"takes longer than {PDF_SECONDS} seconds to read; split it")
    except DocumentError:
        raise
    except Exception as error:  # a broken PDF makes the parser raise anything, RecursionError included
        raise DocumentError(f"broken PDF: {type(error).__name__}: {error}") from error
    if empty:
        raise DocumentError("holds no text: a scan must go through text recognition first")


_READERS: dict[str, Callable[[bytes], Iterable[Section]]] = {
    "markdown": _markdown,
    "text": _text,
    "html": _html,
    "pdf": _pdf,
    "csv": _csv,
    "tsv": _tsv,
}
_KINDS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".rst": "text",
    ".txt": "text",
    ".text": "text",
    ".log": "text",
    ".adoc": "text",
    ".org": "text",
    ".conf": "text",
    ".cfg": "text",
    ".ini": "text",
    ".toml": "text",
    ".yaml": "text",
    ".yml": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".csv": "csv",
    ".tsv": "tsv",
}
