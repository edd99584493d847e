"""A script of one's own that asks for a drain on SIGTERM: what runs ends and is saved, and no new call starts."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graphs import pipeline
from graphs.bind import bind
from runtime.persistence import open_persistence
from runtime.travel import at
from state.agent import Agent
from state.task import Task

SCRIPT = """
import signal, sys, time
from pathlib import Path
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from graphs import pipeline
from graphs.bind import bind
from runtime.persistence import open_persistence
from runtime.travel import at
from state.agent import Agent

def slowly(task):
    with open(sys.argv[2], "a") as log:
        log.write("began\\n")
    time.sleep(1)
    return "done"

control = RunControl()
if sys.argv[3] == "drain":
    signal.signal(signal.SIGTERM, lambda *_: control.request_drain("SIGTERM"))
stages = [bind(Agent(name=n, responsibility="Works."), slowly) for n in ("one", "two", "three")]
graph = open_persistence(sys.argv[1]).bind(pipeline.build(*stages))
try:
    graph.invoke({"task": "go"}, at("t"), control=control, durability="sync")
except GraphDrained as drained:
    sys.exit("drained: " + drained.reason)
"""


async def resumed(url: str, log: Path) -> str:
    """What the thread comes to when another process goes on with it; the calls are logged, too."""

    def quickly(task: Task) -> str:
        with log.open("a") as file:
            file.write("again\n")
        return "done"

    stages = [bind(Agent(name=n, responsibility="Works."), quickly) for n in ("one", "two", "three")]
    home = open_persistence(url)
    try:
        found = await home.bind(pipeline.build(*stages)).ainvoke(None, at("t"))
        return str(found["outcome"])
    finally:
        home.close()


@pytest.mark.parametrize(
    ("how", "status", "again"),
    [("drain", 1, 2), pytest.param("die", -signal.SIGTERM, 3, marks=pytest.mark.slow)],
)
def test_a_script_that_gets_sigterm_can_be_resumed(how: str, status: int, again: int, tmp_path: Path) -> None:
    url, log = f"sqlite:///{tmp_path / 'threads.db'}", tmp_path / "log"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    running = subprocess.Popen([sys.executable, str(script), url, str(log), how], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not log.exists() and time.monotonic() < end:
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)
    assert running.returncode == status, said
    assert said.strip() == ("drained: SIGTERM" if how == "drain" else "")
    assert log.read_text().split() == ["began"]
    assert asyncio.run(resumed(url, log)) == "completed"
    assert log.read_text().split().count("again") == again
