"""One process at a time works on a thread: a lock that ends with its process, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from state.errors import StorageError, ThreadError
from state.record import digest

SQLITE = "sqlite:///"


@contextmanager
def alone(url: str, thread: str) -> Iterator[None]:
    """Hold a thread while it is worked on. Raises ThreadError when somebody else holds it."""
    path = _path(url, thread)
    if path is None:
        yield
        return
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        held = _taken(path)
    except BlockingIOError as error:
        raise ThreadError(
            f"thread {thread!r} is at work elsewhere: wait until that run ends, or stop it first"
        ) from error
    except OSError as error:
        raise StorageError(f"the thread {thread!r} cannot be locked beside its database: {error}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(held)


def busy(url: str, thread: str) -> bool:
    """Whether somebody works on a thread right now."""
    path = _path(url, thread)
    if path is None or not path.exists():
        return False
    try:
        os.close(_taken(path))
    except OSError:
        return True
    return False


def _taken(path: Path) -> int:
    """The open lock. A file that was removed while we waited for it locks nothing: then again."""
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(held), path.stat()):
                return held
        except BaseException:
            os.close(held)
            raise
        os.close(held)


def _path(url: str, thread: str) -> Path | None:
    """Beside a database in a file; in memory there is nobody else."""
    if not url.startswith(SQLITE):
        return None
    database = Path(url.removeprefix(SQLITE)).expanduser().absolute()
    return database.with_name(f"{database.name}-locks") / digest(thread)
