"""What stands for contents that must not be shown: hashes under the key of this installation.

Equal contents have equal hashes here, so that a book can still be compared; without the key nobody
can try out what was said.
"""

import hashlib
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from langgraph.pregel import Pregel

from runtime.home import home
from state.errors import StorageError
from state.record import Record, digest

HERE = "__motet"  # the config key under which a parent tells a nested graph where it stands
VEILED = "__motet_veiled"  # the config key of graphs with a sensitive agent below; nested graphs inherit it
CONTENTS = ("content", "message", "args", "reason")  # what a record says beside who did what, and when


def key() -> bytes:
    """The key of this installation: MOTET_KEY, else a file in the home folder, made with mode 600 at first use.

    Raises StorageError when the file can be neither read nor made.
    """
    said = os.environ.get("MOTET_KEY", "")
    return said.encode() if said else _kept(os.environ.get("MOTET_HOME", ""))


@cache
def _kept(where: str) -> bytes:
    path = home() / "key"
    try:
        if not path.exists():
            _make(path)
        found = path.read_bytes()
    except OSError as error:
        raise StorageError(
            f"the key {path} cannot be used: {error.strerror}; mend its permissions, or set MOTET_KEY"
        ) from error
    if len(found) < 32:
        raise StorageError(f"the key {path} is cut off: put it back, or set MOTET_KEY")
    return found


def _make(path: Path) -> None:
    """The file appears whole or not at all, and the first of several processes wins."""
    draft = path.with_name(f"key-{secrets.token_hex(8)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(secrets.token_hex(32).encode())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def keyed(value: Any) -> str:
    """A keyed hash of plain data, or of whatever has a text."""
    try:
        plain = digest(value)
    except (TypeError, ValueError):  # keys of several types, or circles
        plain = digest(repr(value))
    return hashlib.blake2b(plain.encode(), key=hashlib.blake2b(key()).digest(), digest_size=16).hexdigest()


def hidden(record: Record) -> dict[str, Any]:
    """A record with hashes for its contents."""
    shown: dict[str, Any] = {k: v for k, v in record.items() if k not in CONTENTS}
    said: Mapping[str, Any] = record
    return shown | {"hidden": {k: keyed(said[k]) for k in CONTENTS if said.get(k)}}


def veils(graph: Pregel[Any, Any, Any, Any]) -> bool:
    """Whether a compiled graph, or one inside it, has a sensitive agent."""
    inside: Iterable[Any] = (sub for _, sub in graph.get_subgraphs(recurse=True))
    return any(((g.config or {}).get("configurable") or {}).get(VEILED) for g in (graph, *inside))
