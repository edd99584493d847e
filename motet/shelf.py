"""The folder of documents of a run: looked through before the run begins, so that what is wrong shows then."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tools.documents import library_of
from tools.library import Refreshed

T = TypeVar("T")


async def read(folder: Path) -> Refreshed:
    """Bring the folder's index up to date. Raises DocumentError and StorageError as `library_of` does."""
    done = await _aside(lambda: library_of(folder).refreshed)
    assert done is not None  # a library that was just given has been looked through
    return done


async def _aside(work: Callable[[], T]) -> T:
    """Work on a thread that keeps nobody from leaving: a large folder takes minutes, Ctrl-C must not."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: Callable[[], None]) -> None:
        with suppress(asyncio.InvalidStateError):  # cancelled meanwhile
            result()

    def run() -> None:
        try:
            value = work()
            result: Callable[[], None] = lambda: done.set_result(value)  # noqa: E731  # one expression
        except Exception as error:
            fault = error
            result = lambda: done.set_exception(fault)  # noqa: E731  # one expression
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, name="motet-shelf", daemon=True).start()
    return await done
