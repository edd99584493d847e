"""A process that makes one call after another for its parent, and can be killed in the middle of one.

Calls and answers are pickled over its standard input and output; what a call prints goes to standard error.
`multiprocessing`, and AnyIO's worker processes, would run the program's main script once more in each worker,
and leave behind what the killed one had started.
"""

import asyncio
import atexit
import inspect
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet


class Worker:
    """One worker process. It is started by its first call, as the leader of a process group of its own."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.dead = False
        self._lock = threading.Lock()
        _workers.add(self)

    def do(self, call: bytes) -> tuple[bool, Any]:
        """Make one call: (True, what it returned) or (False, what it raised). Raises ChildProcessError when it died."""
        with self._lock:
            if self.dead:
                raise ChildProcessError("it was killed")
            if self.process is None or self.process.poll() is not None:  # it may have died while it was idle
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "runtime.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                )
            process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(call)
            process.stdin.flush()
            answer: tuple[bool, Any] = pickle.load(process.stdout)  # of our own process
        except (EOFError, BrokenPipeError, ValueError) as error:
            raise ChildProcessError(f"its process ended (exit status {process.wait()})") from error
        return answer

    def kill(self) -> None:
        """End it, with whatever it has started."""
        with self._lock:
            self.dead = True
            if self.process is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                threading.Thread(target=self.process.wait, daemon=True).start()  # so that no zombie stays


_workers: WeakSet[Worker] = WeakSet()


@atexit.register
def _kill_all() -> None:
    for worker in list(_workers):
        worker.kill()


def serve() -> None:
    """Make calls until the parent closes the pipe."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    while True:
        try:
            function, args = pickle.load(calls)  # from our own parent
        except EOFError:
            return
        except Exception as error:  # a module that cannot be loaded here
            answers.write(_answer(False, error))
        else:
            answers.write(_made(function, args))
        answers.flush()


def _made(function: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    try:
        value = function(*args)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        return _answer(True, value)
    except Exception as error:
        return _answer(False, error)
    except BaseException as error:  # SystemExit and its like: the call's, not ours, and not the parent's
        return _answer(False, RuntimeError(f"{type(error).__name__}: {error}"))


def _answer(well: bool, value: Any) -> bytes:
    try:
        made = pickle.dumps((well, value))
        pickle.loads(made)  # an exception with arguments of its own may come back as none
        return made
    except Exception as error:
        said = value if isinstance(value, BaseException) else error
        return pickle.dumps((False, RuntimeError(f"{type(said).__name__}: {said}")))


if __name__ == "__main__":
    serve()
