"""Tools and functions that do not come back: what a module holds, so that a worker process can load it."""

import os
import re
import subprocess
import time
from pathlib import Path

from state.errors import ToolError
from state.tool import Arguments, ToolContext


class Slow(Arguments):
    """`log` is where a tool writes its process id when it begins, and "late" when it comes to its end."""

    log: str = ""
    seconds: float = 30.0


def _note(given: Slow, line: str) -> None:
    if given.log:
        with Path(given.log).open("a") as file:
            file.write(f"{line}\n")


def sleeps(given: Slow, context: ToolContext) -> str:
    """Blocks its thread."""
    _note(given, str(os.getpid()))
    time.sleep(given.seconds)
    _note(given, "late")
    return "late"


def backtracks(given: Slow, context: ToolContext) -> str:
    """Blocks in C, and holds the interpreter's lock."""
    _note(given, str(os.getpid()))
    re.match(r"(a+)+$", "a" * 64 + "b")
    return "late"


def shells(given: Slow, context: ToolContext) -> str:
    """Waits for a process of its own."""
    child = subprocess.Popen(["sleep", str(given.seconds)])
    _note(given, str(child.pid))
    child.wait()
    return "late"


async def blocks(given: Slow, context: ToolContext) -> str:
    """A coroutine that blocks its event loop."""
    return sleeps(given, context)


def quick(given: Slow, context: ToolContext) -> dict[str, object]:
    """Comes back: from which process, for whom, and under which key."""
    return {"pid": os.getpid(), "user": context.user.identity, "key": context.key}


def refuses(given: Slow, context: ToolContext) -> str:
    """Says no in its own words."""
    raise ToolError("it is closed", retryable=True, suggestion="come back on Monday")


def dies(given: Slow, context: ToolContext) -> str:
    """Takes its whole process with it."""
    os._exit(7)
