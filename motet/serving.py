"""The development server over every graph of langgraph.json."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

WORKERS = 10  # runs at once per process; the server's own default is one

CONFIG = Path(__file__).resolve().parent.parent / "langgraph.json"


def command(host: str, port: int) -> list[str]:
    """The server's command line."""
    beside = Path(sys.executable).with_name("langgraph")
    program = str(beside) if beside.exists() else shutil.which("langgraph") or ""
    return [
        program,
        "dev",
        "--config",
        str(CONFIG),
        "--host",
        host,
        "--port",
        str(port),
        "--n-jobs-per-worker",
        str(WORKERS),
        "--no-browser",
        "--no-reload",
    ]


def serve(host: str, port: int) -> int:
    """Run the server until it is stopped; its exit status, or 2 where it is not installed."""
    words = command(host, port)
    if not words[0]:
        sys.stderr.write('error: the server is not installed: pip install "motet[serve]", or run make serve\n')
        return 2
    environment = {"LANGSMITH_TRACING": "false", **os.environ}
    return subprocess.call(words, cwd=CONFIG.parent, env=environment)
