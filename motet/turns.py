"""One turn at the command line: live progress, Ctrl-C at the door, questions put to whoever sits there."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace

from langgraph.runtime import RunControl

from graphs.catalog import entry
from motet import view
from motet.report import write_report
from motet.session import Ended, Session
from runtime.home import files_of

EXIT = {"completed": 0, "degraded": 0, "waiting": 3, "out_of_budget": 4, "cancelled": 130}

Work = Callable[..., Awaitable[Ended | None]]


async def turn(db: str, as_json: bool, work: Work) -> int:
    """Do the work, answer its questions if somebody is there, and show how it ended; the exit status."""
    with Session(db) as session, view.Progress(quiet=as_json) as progress:
        ended = await _stoppable(work, session, progress)
        while ended is not None and ended.questions and not as_json and sys.stdin.isatty():
            progress.pause()
            said = view.decide(ended.questions)
            again: Work = lambda s, t=ended.thread, a=said, **how: s.resume(t, a, **how)  # noqa: E731  # one expression
            ended = await _stoppable(again, session, progress)
        progress.pause()
        if ended is None:
            return 0
        known = entry(ended.pattern)
        if ended.output is not None and known is not None and known.application:
            values = (await session.state(ended.thread)).values
            ended = replace(ended, report=str(write_report(values, files_of(ended.thread))))
        view.ended(ended, as_json)
        return EXIT.get(ended.outcome, 5)


async def _stoppable(work: Work, session: Session, progress: "view.Progress") -> Ended | None:
    """The first Ctrl-C, or SIGTERM, lets running calls end and starts no more; the second cancels."""
    control, loop = RunControl(), asyncio.get_running_loop()
    task = asyncio.ensure_future(work(session, listen=progress.show, control=control))

    def stop(name: str) -> None:
        if control.drain_requested:
            task.cancel()
            return
        view.say(f"{name}: ending the calls in flight; once more to cancel them", style="yellow")
        control.request_drain(f"stopped by {name}")

    for number, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")):
        loop.add_signal_handler(number, stop, name)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
