"""One writer a thread: changes go through its lease, and those of the same moment are committed together."""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

from runtime import lease, verify
from runtime.book import label
from runtime.guarded import Guarded
from runtime.lease import FREE, Lease
from runtime.rows import HOLD, NOBODY, Change, Hold, Kept, kept, new_head
from state.errors import IntegrityError, MotetError, OvertakenError, StorageError, ThreadError

T = TypeVar("T")

MOST = 256  # changes that are committed together


class Job(NamedTuple):
    """A change of a thread that somebody waits for."""

    thread: str
    work: Callable[[Change], Any]
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[Any]"


class Held(Guarded):
    """A saver of which each thread has one writer. `holds` are the threads held here, by their label in namespaces."""

    def __init__(self, *args: Any, holds: dict[str, Hold] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seconds = lease.SECONDS
        self._holds = {} if holds is None else holds
        self._left: dict[str, str] = {}  # leases that were given up, but could not be written off
        self._jobs: deque[Job] = deque()
        self._at_work = False

    @contextmanager
    def changing(self, *threads: str, anew: bool = False) -> Iterator[Sequence[Change]]:
        """Change threads in one transaction; `anew` if nothing that stands of them stays.

        Raises ThreadError when somebody else holds one, or took it over, and IntegrityError for a head that
        was changed.
        """
        holds = [self._holds.get(label(thread)) or Hold(thread, FREE) for thread in threads]
        try:
            with self.cursor() as cursor:
                changes = [self._change(cursor, hold, anew=anew) for hold in holds]
                yield changes
                stand = [change.close() for change in changes]
        except BaseException:
            for hold in holds:
                hold.forget()  # nothing of it was written
            raise
        for hold, change, now in zip(holds, changes, stand, strict=True):
            hold.stands = now
            if hold.lease.holder:
                hold.lease = now.lease
            sequence, version = self._seen.get(hold.thread, (0, 0))
            if sequence == change.before.head.sequence:
                self._seen[hold.thread] = now.head.sequence, version

    def _change(self, cursor: sqlite3.Cursor, hold: Hold, *, anew: bool) -> Change:
        stands = hold.stands or self._head(cursor, hold.thread, anew=anew) or NOBODY
        change = Change(cursor, self.sealer, hold, stands)
        if hold.lease.holder:
            change.lease = lease.renewed(stands.lease, hold.lease, hold.thread, self.seconds)
        elif self._is_held(hold.thread, stands.lease):
            raise lease.busy(hold.thread)
        return change

    async def _apply(self, thread: str, work: Callable[[Change], T]) -> T:
        """Change a thread, together with whatever else is to be changed in the same moment."""
        loop = asyncio.get_running_loop()
        job = Job(thread, work, loop, loop.create_future())
        self._jobs.append(job)
        if not self._at_work:
            self._at_work = True
            self._worker.submit(self._work)
        done: T = await job.done
        return done

    def _work(self) -> None:
        """On the database's own thread: one transaction for all that wait."""
        jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), MOST))]
        ends = self._together(jobs) if jobs else []
        for loop in {job.loop for job in jobs}:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(
                    _tell, [(j, end) for j, end in zip(jobs, ends, strict=True) if j.loop is loop]
                )
        self._at_work = False
        if self._jobs:
            self._at_work = True
            self._worker.submit(self._work)

    def _together(self, jobs: Sequence[Job]) -> list[Any]:
        """What came of each job: its result or its error. One that is refused takes nobody with it."""
        threads = [*dict.fromkeys(job.thread for job in jobs)]
        try:
            with self.changing(*threads) as changes:
                by_thread = dict(zip(threads, changes, strict=True))
                ends = [job.work(by_thread[job.thread]) for job in jobs]
        except Exception as error:
            own = not isinstance(error, StorageError) or isinstance(error, IntegrityError | OvertakenError)
            if len(jobs) > 1 and own:
                return [end for job in jobs for end in self._together([job])]
            return [error for _ in jobs]
        return ends

    def _head(self, cursor: sqlite3.Cursor, thread: str, *, anew: bool) -> Kept | None:
        found = kept(cursor, thread)
        if found is None and not anew:
            verify.unknown(cursor, thread)
        if found is not None and self.sealer.head(thread, found.head) != found.digest:
            if anew:
                return NOBODY._replace(lease=found.lease)
            raise IntegrityError(verify.first(cursor, self.sealer, thread))
        return found

    @asynccontextmanager
    async def hold(self, thread: str) -> AsyncIterator[None]:
        """Be the only writer of a thread, in whatever process. Raises ThreadError while somebody else is."""
        taking = asyncio.ensure_future(self._do(lambda: self._take(thread)))
        try:
            mine = await asyncio.shield(taking)
        except asyncio.CancelledError:
            with suppress(MotetError):
                await self._give_up(thread, await taking)
            raise
        hold = self._holds[label(thread)] = Hold(thread, mine)
        renewing = asyncio.create_task(self._renew(hold))
        try:
            yield
        finally:
            renewing.cancel()
            del self._holds[label(thread)]
            await asyncio.shield(self._give_up(thread, mine))

    def held(self, thread: str) -> bool:
        """Whether somebody works on a thread right now."""
        with self.cursor(transaction=False) as cursor:
            found = kept(cursor, thread)
        return found is not None and self._is_held(thread, found.lease)

    def _is_held(self, thread: str, found: Lease) -> bool:
        return found.held and found.holder != self._left.get(thread)

    def _take(self, thread: str) -> Lease:
        with self.cursor() as cursor:
            found = self._head(cursor, thread, anew=False)
            mine = lease.taken(found.lease if found else FREE, lease.holder(), thread, self.seconds, self._left)
            if found:
                cursor.execute(HOLD, (*mine, thread))
            else:
                new_head(cursor, self.sealer, thread, mine)
        self._left.pop(thread, None)
        return mine

    async def _give_up(self, thread: str, mine: Lease) -> None:
        """Where that cannot be written, the lease lapses by itself; in this process it is free at once."""
        try:
            await self._do(lambda: self._lease(thread, mine, Lease(mine.epoch, "", 0.0)))
        except ThreadError:  # somebody took it over
            pass
        except StorageError:
            self._left[thread] = mine.holder

    async def _renew(self, hold: Hold) -> None:
        """Renew a lease for as long as its holder is at work."""
        while True:
            await asyncio.sleep(self.seconds / 3)
            new = hold.lease._replace(expires=time.time() + self.seconds)
            with suppress(MotetError):  # the next write says so
                await self._do(partial(self._lease, hold.thread, hold.lease, new))
                hold.lease = new

    def _lease(self, thread: str, mine: Lease, new: Lease) -> None:
        """Change my own lease."""
        with self.cursor() as cursor:
            found = kept(cursor, thread)
            lease.renewed(found.lease if found else FREE, mine, thread, self.seconds)
            cursor.execute(HOLD, (*new, thread))


def _tell(ended: Sequence[tuple[Job, Any]]) -> None:
    for job, end in ended:
        if job.done.done():
            pass  # whoever waited was cancelled
        elif isinstance(end, BaseException):
            job.done.set_exception(end)
        else:
            job.done.set_result(end)
