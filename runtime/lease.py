"""Who holds a thread: one writer at a time, in whatever process.

A lease has an epoch, which rises whenever the thread changes hands, and lapses unless it is renewed. Who
was stopped past its lease finds another epoch at its next write, and is refused (fencing: Kleppmann, 2016).
"""

import os
import socket
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import NamedTuple, Protocol, runtime_checkable

from state.errors import OvertakenError, ThreadError

SECONDS = 30.0  # that a lease lasts without being renewed; a holder who is known to be dead loses it at once
LONGEST = 3600.0  # seconds that anybody may hold a thread: what says more is no lease


class Lease(NamedTuple):
    """`expires` is in seconds since the epoch; nobody holds it where there is no holder."""

    epoch: int
    holder: str
    expires: float

    @property
    def held(self) -> bool:
        """Whether somebody holds it who is, for all that can be known, still there."""
        return bool(self.holder) and 0 < self.expires - time.time() < LONGEST and not _dead(self.holder)


FREE = Lease(0, "", 0.0)


def _here() -> str:
    """Where a process is known by its number: this machine, and in it this container."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # not on Linux
        space = ""
    return f"{socket.gethostname()}:{uuid.getnode():x}:{space}"


_HERE = _here()


@runtime_checkable
class Holding(Protocol):
    """A saver of which a thread can be held."""

    def hold(self, thread: str) -> AbstractAsyncContextManager[None]:
        """Be the only one at work on a thread. Raises ThreadError while somebody else is."""

    def held(self, thread: str) -> bool:
        """Whether somebody works on a thread right now."""


_mine: ContextVar[frozenset[tuple[int, str]]] = ContextVar("held", default=frozenset())  # of which saver, which thread


@asynccontextmanager
async def alone(saver: Holding, thread: str) -> AsyncIterator[None]:
    """Hold a thread over several runs and reads: the runs inside need not hold it themselves."""
    async with saver.hold(thread):
        token = _mine.set(_mine.get() | {(id(saver), thread)})
        try:
            yield
        finally:
            _mine.reset(token)


def is_mine(saver: Holding, thread: str) -> bool:
    """Whether the caller holds a thread of this saver already."""
    return (id(saver), thread) in _mine.get()


def holder() -> str:
    """A name for one holder in this process."""
    return f"{_HERE}|{os.getpid()}|{uuid.uuid4().hex[:12]}"


def taken(lease: Lease, by: str, thread: str, seconds: float, left: Mapping[str, str]) -> Lease:
    """The lease of somebody new; `left` says who gave up which thread. Raises ThreadError where another holds it."""
    if lease.held and lease.holder != left.get(thread):
        raise busy(thread)
    return Lease(lease.epoch + 1, by, time.time() + seconds)


def renewed(lease: Lease, mine: Lease, thread: str, seconds: float) -> Lease:
    """My lease for some more time. Raises ThreadError when the thread has changed hands since."""
    if (lease.epoch, lease.holder) != (mine.epoch, mine.holder):
        raise overtaken(thread)
    return mine._replace(expires=time.time() + seconds)


def busy(thread: str) -> ThreadError:
    """What is said to whoever comes second."""
    return ThreadError(f"thread {thread!r} is at work elsewhere: wait until that run ends, or stop it first")


def overtaken(thread: str) -> OvertakenError:
    """What is said to whoever was stopped for too long."""
    return OvertakenError(
        f"thread {thread!r} was taken over by another run while this one was stopped: nothing more of this one is "
        "saved. Look at the thread before you go on with it"
    )


def _dead(name: str) -> bool:
    """Whether a holder on this machine is known to be gone."""
    where, _, rest = name.partition("|")
    pid = rest.partition("|")[0]
    if where != _HERE or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # somebody else's process, or a number that no process has
    return False
