"""Work of others, kept at arm's length: whatever it does, its caller is back in time, and a late result is dropped.

A coroutine that does not heed its cancellation is left behind. A plain function runs on a thread of its own,
which is left behind as well: Python cannot stop a thread. In a worker process it can be killed, also in the
middle of C code that never gives way, with all that it has started.
"""

import asyncio
import contextvars
import pickle
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from runtime.worker import Worker

T = TypeVar("T")

GRACE = 0.1  # of its time, and no more than LONGEST_GRACE, for work that is cancelled to tidy up
LONGEST_GRACE = 1.0  # seconds
IDLE = 4  # workers kept for the next call

_left: set[asyncio.Task[Any]] = set()  # the loop itself holds tasks only weakly
_idle: list[Worker] = []


async def ended(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """What a coroutine returns within so many seconds. Raises TimeoutError when it did not."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        await _stopped(task, seconds)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error from None  # as if it had been awaited
        raise
    if not task.done():
        await _stopped(task, seconds)
        raise TimeoutError
    return task.result()


async def _stopped(task: asyncio.Task[Any], seconds: float) -> None:
    """Cancel a task, and give it a moment to tidy up."""
    task.cancel()
    _left.add(task)
    task.add_done_callback(_dropped)
    await asyncio.wait({task}, timeout=min(GRACE * seconds, LONGEST_GRACE))


def _dropped(task: asyncio.Task[Any]) -> None:
    _left.discard(task)
    if not task.cancelled():
        task.exception()  # seen by nobody: it came too late


async def on_a_thread(function: Callable[..., T], *args: Any) -> T:
    """What a function returns. Not on a thread of the loop's pool: the end of the program would wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def work() -> None:
        value: Any = None
        error: BaseException | None = None
        try:
            value = context.run(function, *args)
        except StopIteration as stop:
            error = RuntimeError(f"StopIteration: {stop}")  # a future takes none
        except BaseException as other:
            error = other
        with suppress(RuntimeError):  # the loop is closed: too late for anybody
            loop.call_soon_threadsafe(_tell, done, value, error)

    threading.Thread(target=work, name="motet-apart", daemon=True).start()
    return await done


def _tell(done: "asyncio.Future[Any]", value: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(value)
    else:
        done.set_exception(error)


async def in_a_process(function: Callable[..., Any], *args: Any) -> Any:
    """What a function, plain or not, returns in a worker process, which is killed when nobody waits any more.

    Raises what the function raises, and ChildProcessError when its process died.
    """
    call = pickle.dumps((function, args))
    worker = _idle.pop() if _idle else Worker()
    try:
        well, value = await on_a_thread(worker.do, call)
    except BaseException:
        worker.kill()
        raise
    if len(_idle) < IDLE:
        _idle.append(worker)
    else:
        worker.kill()
    if well:
        return value
    raise value
