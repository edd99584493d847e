"""The development server over every graph of langgraph.json."""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from state.errors import InputError

WORKERS = 10  # runs at once per process; the server's own default is one

CONFIG = Path(__file__).resolve().parent.parent / "langgraph.json"


def command(host: str, port: int) -> list[str]:
    """The server's command line. Raises InputError where the server is not installed."""
    beside = Path(sys.executable).with_name("langgraph")
    program = str(beside) if beside.exists() else shutil.which("langgraph")
    if program is None:
        raise InputError('the server is not installed: pip install "motet[serve]", or run make serve')
    if not CONFIG.exists():
        raise InputError(f"there is no {CONFIG}: serve from a clone of the repository")
    where = ["--config", str(CONFIG), "--host", host, "--port", str(port)]
    return [program, "dev", *where, "--n-jobs-per-worker", str(WORKERS), "--no-browser", "--no-reload"]


def serve(host: str, port: int) -> NoReturn:
    """Become the server, so that signals and the exit status are its own. Raises InputError as `command` does.

    Traces stay here, and questions are answered from the project's own documents, unless the
    environment says otherwise.
    """
    words = command(host, port)
    os.chdir(CONFIG.parent)
    defaults = {"LANGSMITH_TRACING": "false", "MOTET_DOCS": str(CONFIG.parent / "docs")}
    os.execve(words[0], words, defaults | dict(os.environ))
