"""Where data lies that belongs to no project: MOTET_HOME, else ~/.motet."""

import os
from pathlib import Path

from state.errors import StorageError
from state.record import digest


def home() -> Path:
    """The home folder, made with mode 700 when it is not there yet. Raises StorageError where it cannot be."""
    folder = Path(os.environ.get("MOTET_HOME") or "~/.motet").expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageError(
            f"the home folder {folder} cannot be made: {error.strerror}; set MOTET_HOME to a folder that can be written"
        ) from error
    return folder


def files_of(thread: str) -> Path:
    """Where the files lie that a thread's tools and reports write."""
    return home() / "files" / digest(thread)[:16]
