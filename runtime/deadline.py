"""By when the work at hand must be over. What is called inherits it, and can only have less.

It stands in a context variable, so that nested graphs have it, and whatever a function or a tool runs, also
on another thread.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_until: ContextVar[float] = ContextVar("until", default=math.inf)  # on the monotonic clock


def left() -> float:
    """Seconds until the work at hand must be over; infinite where nothing binds."""
    return _until.get() - time.monotonic()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give what is done in here at most so many seconds, and no more than there are."""
    mine = _until.set(min(_until.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _until.reset(mine)
