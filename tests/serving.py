"""A development server of a test's own: its folder, its home, no key, every graph and the slice; ended surely."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from motet import serving

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0  # seconds until it must answer
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SETTINGS = re.compile(r"_API_KEY$|^(MOTET|LANGSMITH|LANGCHAIN|LANGGRAPH|LANGSERVE|SLICE)_")


@dataclass(frozen=True, slots=True)
class Server:
    """Where it answers, what it logs, and what the slice's models and tools note when they run."""

    url: str
    log: Path
    noted: Path

    def said(self, since: int = 0) -> str:
        """Its log from a position on, without colours."""
        return COLOUR.sub("", self.log.read_bytes()[since:].decode(errors="replace"))

    def calls(self, since: int = 0) -> list[str]:
        """What the slice did from the so manieth call on, by every thread."""
        return self.noted.read_text().splitlines()[since:]


@contextmanager
def served(folder: Path, *, pause: float = 0.03) -> Iterator[Server]:
    """A server that runs in a folder, where its state stays. `pause` slows down the slice's calls, in seconds."""
    config = json.loads(serving.CONFIG.read_text())
    config["graphs"]["slice"] = "slice_app:graph"
    config["dependencies"] = [str(ROOT), str(ROOT / "tests")]
    (folder / "langgraph.json").write_text(json.dumps(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with patch.object(serving, "CONFIG", folder / "langgraph.json"):
        words = serving.command("127.0.0.1", port)
    server = Server(f"http://127.0.0.1:{port}", folder / "server.log", folder / "calls.log")
    server.noted.touch()
    environment = {name: value for name, value in os.environ.items() if not SETTINGS.search(name)}
    environment |= {
        "LANGSMITH_TRACING": "false",
        "MOTET_HOME": str(folder / "home"),
        "SLICE_LOG": str(server.noted),
        "SLICE_PAUSE": str(pause),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    }
    with server.log.open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(process, server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], server: Server) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{server.url}/ok", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"the server did not come up (exit status {process.poll()}):\n{server.said()[-8000:]}")
