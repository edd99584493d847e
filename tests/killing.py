"""Sittings that are killed, and what is held against them once their run is over."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from crash_apps import ASKED, LOG

HERE = Path(__file__).parent
KILLED = (-9, 9)  # by a signal, or by itself


class ForkServer:
    """A process that has loaded some graphs, and forks for each sitting (fork_server.py)."""

    def __init__(self, names: Iterable[str]) -> None:
        environment = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent}", "LANGSMITH_TRACING": "false"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "fork_server.py"), *names],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)

    def sit(self, name: str, folder: Path, **how: Any) -> dict[str, Any]:
        """One sitting, and how it ended. Anything but an end or a kill is shown, and fails."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        folder.mkdir(exist_ok=True)
        self.process.stdin.write(json.dumps({"app": name, "folder": str(folder), **how}) + "\n")
        self.process.stdin.flush()
        ended: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert ended["status"] in (0, *KILLED), (folder / "error.txt").read_text()
        return ended


def done_in(folder: Path) -> dict[str, Any] | None:
    """What the sitting that came to the end says, once one has."""
    path = folder / "done.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text().splitlines()[-1])
    except (FileNotFoundError, IndexError, ValueError):  # or one that was killed while it said so
        return None
    return found


def effects(folder: Path) -> list[str]:
    """What happened in the world: a name and a key each."""
    path = folder / LOG
    return path.read_text().splitlines() if path.exists() else []


def faults(folder: Path, clean: int) -> dict[str, int]:
    """What is wrong with a run that was killed and is over now; `clean` is how many effects it has when it is not.

    Lost: steps and finished calls that were committed before a kill, and are gone or others now.
    """
    done = done_in(folder)
    assert done is not None
    lost, unreadable = 0, 0
    for line in (folder / "seen.jsonl").read_text().splitlines():
        seen = json.loads(line)
        unreadable += not seen["sound"]
        lost += sum(len(set(ids) - set(done["steps"].get(space, []))) for space, ids in seen["steps"].items())
        lost += sum(done["ended"].get(id_) != content for id_, content in seen["ended"].items())
    world = effects(folder)
    sent = [line for line in world if line.startswith("send")]
    return {
        "steps lost": lost,
        "run twice": len(done["twice"]),
        "effects duplicated": len(sent) - len(set(sent)) + max(0, len(set(world)) - clean),
        "effects missing": max(0, clean - len(set(world))),
        "databases unreadable": unreadable + (not done["sound"]),
        "runs not completed": done["outcome"] != "completed",
    }


def asked(folder: Path) -> int:
    """Of how many calls a person was asked what became of them."""
    path = folder / ASKED
    return len(path.read_text().splitlines()) if path.exists() else 0
