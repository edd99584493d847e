"""Two tools over the run's folder of documents: find the passages on a subject, read on around one.

The index of each folder is kept below the house's own folder, made at the first search and brought up
to date at most every few seconds, so that a run searches what is there now and pays for a look at the
folder only now and then.
"""

import asyncio
import difflib
import hashlib
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from runtime.home import home
from state.context import User
from state.errors import DocumentError, StorageError, ToolError
from state.tool import Arguments, Tool, ToolContext
from tools import names
from tools.folder import existing
from tools.library import Library
from tools.passages import Passage

FRESH_SECONDS = 5.0
PATIENCE = 20  # a folder that takes a second to look through is looked through every 20 seconds at most
TIMEOUT = 300.0  # seconds; the first search of a large folder reads all of it


class SearchArguments(Arguments):
    """What to search for."""

    query: str = Field(max_length=2_000, description="What to look for: the words that a good passage would hold")
    limit: int = Field(8, ge=1, le=30, description="Passages wanted, at most")


class ReadArguments(Arguments):
    """Where to read, and how far."""

    reference: str = Field(
        min_length=1,
        max_length=2_000,
        description="A reference that search gave, such as handbook.md#refunds, or a file's name to start at its top",
    )
    passages: int = Field(6, ge=1, le=20, description="Passages wanted, at most, from that one on")


@dataclass(slots=True)
class _Shelf:
    """A library of this process, and when to look at its folder again."""

    library: Library
    lock: threading.Lock = field(default_factory=threading.Lock)
    due: float = 0.0


_shelves: dict[Path, _Shelf] = {}
_opening = threading.Lock()


def library_of(folder: Path) -> Library:
    """The process's library of a folder, up to date within seconds. Blocks while it reads: call it in a thread.

    Raises DocumentError for a folder that cannot be used and StorageError for an index that cannot.
    """
    real = existing(folder)
    database = home() / "index" / f"{hashlib.blake2b(bytes(real), digest_size=16).hexdigest()}.db"
    with _opening:
        shelf = _shelves.get(database)
        if shelf is None:
            shelf = _shelves[database] = _Shelf(Library(real, database))
    with shelf.lock:
        began = time.monotonic()
        if began >= shelf.due:
            shelf.library.refresh()
            ended = time.monotonic()
            shelf.due = ended + max(FRESH_SECONDS, PATIENCE * (ended - began))
    return shelf.library


async def search(arguments: SearchArguments, context: ToolContext) -> dict[str, Any]:
    """The best passages for the query, and how common its words are.

    {"passages": [{"reference", "heading", "text"}], "total": how many these are,
    "words": {word: in how many of all passages it stands}, "of": how many passages there are}
    """
    return await asyncio.to_thread(_search, arguments, context)


async def read(arguments: ReadArguments, context: ToolContext) -> dict[str, Any]:
    """Passages in a row: {"file", "passages": [{"reference", "heading", "text"}], "next": reference or None}."""
    return await asyncio.to_thread(_read, arguments, context)


def _search(arguments: SearchArguments, context: ToolContext) -> dict[str, Any]:
    library = _library(context)
    found = library.search(arguments.query, limit=arguments.limit, user=context.user)
    words, passages = library.occurrences(arguments.query, user=context.user)
    return {"passages": [_plain(passage) for passage in found], "total": len(found), "words": words, "of": passages}


def _read(arguments: ReadArguments, context: ToolContext) -> dict[str, Any]:
    # A reference is only ever looked up in the index, never opened: there is no path that leads out.
    library = _library(context)
    start = _start(library, arguments.reference, context.user)
    row = library.around(start, before=0, after=arguments.passages, user=context.user)
    shown, following = row[: arguments.passages], row[arguments.passages :]
    return {
        "file": start.file,
        "passages": [_plain(passage) for passage in shown],
        "next": following[0].reference if following else None,
    }


def _library(context: ToolContext) -> Library:
    if context.docs is None:
        raise ToolError(
            "this run has no folder of documents",
            suggestion="answer without documents and say so, or ask for a run with a folder: --docs or MOTET_DOCS",
        )
    try:
        return library_of(context.docs)
    except DocumentError as error:
        raise ToolError(str(error), suggestion="answer without documents and say that there are none") from error
    except StorageError as error:
        raise ToolError(str(error), retryable=True) from error


def _start(library: Library, reference: str, user: User) -> Passage:
    file, section = names.parts(reference)
    passage = library.passage(reference, user=user)
    if passage:
        return passage
    first = library.read(file, user=user) if section is None else library.read(reference, user=user)
    if first:
        return first[0]
    files = library.files(user=user)
    if section is not None and file in files:
        sections = [each.section for each in library.read(file, user=user)]
        near = _near(section, sections) or sections[:5]
        raise ToolError(
            f"{file} has no section {section!r}",
            suggestion="try " + ", ".join(names.reference(file, each) for each in near),
        )
    near = _near(file, files) or files[:5]
    raise ToolError(f"there is no document {file!r}", suggestion="try " + ", ".join(near) if near else "search first")


def _near(name: str, those: list[str]) -> list[str]:
    return difflib.get_close_matches(name, those[:2_000], n=5, cutoff=0.5)


def _plain(passage: Passage) -> dict[str, str]:
    return {"reference": passage.reference, "heading": passage.heading, "text": passage.text}


SEARCH = Tool(
    name="search",
    description=(
        "Finds the passages of the documents that hold the words of a query, best first, each with the reference"
        " to cite it by. Use it for anything the documents may say, with a different wording if the first finds"
        " nothing. Not for sums or filters over tables (use query), nor to read on where a passage ends (use read)."
        ' Example: {"query": "refund after 30 days opened software", "limit": 5}'
    ),
    args=SearchArguments,
    run=search,
    timeout=TIMEOUT,
)

READ = Tool(
    name="read",
    description=(
        "Reads a document from a passage on, in order, and says what comes next. Use it when a passage that search"
        " found is cut off or needs what stands around it. Not for finding something: search does that without"
        ' reading everything. Example: {"reference": "handbook.md#refunds", "passages": 4}'
    ),
    args=ReadArguments,
    run=read,
    timeout=TIMEOUT,
)
