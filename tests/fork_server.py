"""fork_server.py APP ...: loads some graphs once, and forks a process for each sitting that is asked for.

Each line of its input is a sitting: {"app", "folder", "kill": seconds | null, "early": bool, "crash": number |
null}. It is killed after so many seconds of work (of its whole life, if `early`), or ends itself at the point
with that number. Each line of output says how it ended: {"status": exit code, "seconds": of work}.
"""

import asyncio
import gc
import json
import os
import select
import signal
import sqlite3
import sys
import time
import traceback
from functools import partial
from typing import Any

from crash_apps import Points, Sitting, app
from scripted import note

LONGEST = 60.0  # seconds of one sitting


async def sit(job: dict[str, Any], graph: Any, ready: int) -> None:
    points = Points(job.get("crash") or 0)

    class Counting(sqlite3.Connection):
        def commit(self) -> None:
            points.around(super().commit)()

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            run = super().execute
            return points.around(run)(sql, *values) if sql == "COMMIT" else run(sql, *values)

    if "crash" in job:
        sqlite3.connect = partial(sqlite3.connect, factory=Counting)  # type: ignore[assignment]  # in this process only
    sitting = Sitting(graph)
    stands = await sitting.look()
    note("seen.jsonl", json.dumps(stands))
    if "crash" in job:
        points.passed = 0
        for name in ("aput", "aput_writes", "aget_tuple", "aget_delta_channel_history"):
            setattr(sitting.home.saver, name, points.around_async(getattr(sitting.home.saver, name)))
    os.write(ready, b"+")
    done = await sitting.go()
    note("done.json", json.dumps({**done, "points": points.passed}))
    sitting.home.close()


def child(job: dict[str, Any], graph: Any, ready: int) -> None:
    code = 1
    try:
        os.chdir(job["folder"])
        os.environ["MOTET_HOME"] = os.path.join(job["folder"], "home")
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        asyncio.run(sit(job, graph, ready))
        code = 0
    except BaseException:
        with open("error.txt", "a") as file:
            traceback.print_exc(file=file)
    finally:
        os._exit(code)


def ended(job: dict[str, Any], graph: Any) -> dict[str, Any]:
    theirs, ours = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(theirs)
        child(job, graph, ours)
    os.close(ours)
    began, kill = time.monotonic(), job.get("kill")
    if not job.get("early"):
        select.select([theirs], [], [], LONGEST)
        os.read(theirs, 1)  # ready, or nothing: it has ended
        began = time.monotonic()
    else:  # its readiness is no end
        while select.select([theirs], [], [], max(0.0, began + kill - time.monotonic()))[0] and os.read(theirs, 1):
            pass
    if select.select([theirs], [], [], LONGEST if kill is None else max(0.0, began + kill - time.monotonic()))[0]:
        seconds = time.monotonic() - began
    else:
        seconds = time.monotonic() - began
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(theirs)
    return {"status": os.waitstatus_to_exitcode(status), "seconds": seconds}


def main(names: list[str]) -> None:
    graphs = {name: app(name) for name in names}
    gc.collect()
    gc.freeze()  # children need not touch, and so copy, what is here already
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(ended(job, graphs[job["app"]])), flush=True)


main(sys.argv[1:])
