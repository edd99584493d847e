"""One turn at the command line: live progress, Ctrl-C at the door, questions put to whoever sits there."""

import asyncio
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace

from langgraph.runtime import RunControl

from motet import asking, screen, view
from motet.ended import Ended
from motet.progress import Progress
from motet.session import Session
from state.errors import InputError, MotetError

EXIT = {"completed": 0, "degraded": 0, "waiting": 3, "out_of_budget": 4, "cancelled": 130}

Work = Callable[..., Awaitable[Ended]]


def turn(where: str | Session, as_json: bool, work: Work) -> int:
    """Do the work, put its questions to somebody who is there, and show how it ended; the exit status.

    What is refused before the run begins raises; what goes wrong later ends the turn as failed.
    """
    with ExitStack() as stack:
        session = where if isinstance(where, Session) else stack.enter_context(Session(where))
        ended = _once(session, as_json, work)
        while ended.questions and not as_json and asking.somebody():
            said = asking.ask(ended.questions)
            if said is None:
                break
            try:
                ended = _once(session, as_json, lambda s, t=ended.thread, a=said, **how: s.resume(t, a, **how))
            except InputError as error:  # it does not fit, and can be given again
                screen.say(str(error), "yellow")
        view.ended(ended, as_json)
        return EXIT.get(ended.outcome, 5)


def _once(session: Session, as_json: bool, work: Work) -> Ended:
    with Progress(quiet=as_json) as progress:
        try:
            return asyncio.run(_stoppable(session, work, progress))
        except (MotetError, sqlite3.Error) as error:
            if not progress.thread:
                raise
            return _broken(session, progress, str(error))
        except Exception as error:
            if not progress.thread or screen.wants_traceback():
                raise
            return _broken(session, progress, screen.in_one_line(error))


async def _stoppable(session: Session, work: Work, progress: Progress) -> Ended:
    """The first Ctrl-C, or SIGTERM, lets running calls end and starts no more; the second cancels them."""
    control, loop = RunControl(), asyncio.get_running_loop()
    task = asyncio.ensure_future(work(session, listen=progress.show, control=control))

    def stop(name: str) -> None:
        if control.drain_requested or not progress.thread:
            task.cancel()
            return
        screen.say(f"{name}: no new call starts; those at work end and are saved. Once more cancels them", "yellow")
        control.request_drain(f"stopped by {name}")

    for number, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")):
        loop.add_signal_handler(number, stop, name)
    try:
        return await task
    except asyncio.CancelledError:
        if not progress.thread:
            raise KeyboardInterrupt from None
        return replace(await session.look(progress.thread), reason="calls at work were cancelled")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _broken(session: Session, progress: Progress, reason: str) -> Ended:
    """A run that an error ended: as much as can still be said of it."""
    try:
        stands = asyncio.run(session.look(progress.thread))
    except Exception:  # the database itself is broken
        stands = Ended(thread=progress.thread, pattern=progress.pattern, outcome="failed", unfinished=True)
    return replace(stands, outcome="failed", reason=reason)
