"""The files of a folder that somebody gave us to read: found, and opened, without ever leaving it.

No link is followed, neither to a file nor to a folder: a link may lead outside, in circles, or past
an access rule that names its target, and what it leads to inside the folder is found anyway.
"""

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from state.errors import DocumentError

Skipped = tuple[str, str]
"""A file, relative to the folder, and why it is not read."""


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file: `file` is its POSIX path relative to the folder, `size` in bytes, `mtime_ns` its last change."""

    file: str
    path: Path
    size: int
    mtime_ns: int


def existing(folder: Path) -> Path:
    """The folder's real path. Raises DocumentError where there is no such folder."""
    try:
        real = folder.expanduser().resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise DocumentError(f"no such folder: {folder}; give the path of an existing folder of documents") from error
    if not real.is_dir():
        raise DocumentError(f"{folder} is not a folder; give the folder that holds the documents, here {real.parent}")
    return real


def scan(folder: Path, *, without: Collection[Path] = ()) -> tuple[list[Found], list[Skipped]]:
    """All regular files below an existing folder, sorted, and what was passed over.

    Hidden files and folders are passed over without a word of what is in them. Raises DocumentError
    where the folder itself cannot be listed.
    """
    found: list[Found] = []
    skipped: list[Skipped] = []
    pending = [folder]
    while pending:  # a stack of our own: os.walk recurses, and folders nest deeper than Python does
        directory = pending.pop()
        try:
            with os.scandir(directory) as listing:
                entries = list(listing)
        except OSError as error:
            if directory == folder:
                raise DocumentError(f"cannot list {folder}: {error.strerror}; make it readable") from error
            skipped.append((_shown(directory, folder), f"cannot be listed: {error.strerror}"))
            continue
        for entry in entries:
            path = Path(entry.path)
            if path in without:
                continue
            reason = _passed_over(entry)
            if reason:
                skipped.append((_shown(path, folder), reason))
            elif entry.is_dir(follow_symlinks=False):
                pending.append(path)
            else:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError as error:
                    skipped.append((_shown(path, folder), f"cannot be read: {error.strerror}"))
                    continue
                found.append(Found(path.relative_to(folder).as_posix(), path, status.st_size, status.st_mtime_ns))
    return sorted(found, key=lambda each: each.file), sorted(skipped)


def opened(found: Found) -> BinaryIO:
    """The file, open for reading bytes. Raises DocumentError where it cannot be, or is a link by now."""
    # Without O_NONBLOCK, a pipe put in the file's place since the scan would wait for a writer for ever.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(found.path, flags)
    except OSError as error:
        raise DocumentError(f"cannot be read: {error.strerror}") from error
    stream = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode) or found.path.resolve() != found.path:
        stream.close()
        raise DocumentError("became a link or a special file while it was read")
    return stream


def content(found: Found, *, limit: int) -> bytes:
    """The file's bytes. Raises DocumentError with the reason: unreadable, a link by now, over `limit` bytes."""
    try:
        with opened(found) as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise DocumentError(f"cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise DocumentError(f"larger than {limit // 2**20} MB; split it")
    return data


def _passed_over(entry: os.DirEntry[str]) -> str:
    if entry.name.startswith("."):
        return "hidden"
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "its name is not valid Unicode"
    if entry.is_symlink():
        return "a link; links are not followed"
    if not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
        return "not a regular file"
    return ""


def _shown(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix().encode("utf-8", "replace").decode()
