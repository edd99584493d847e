"""Three patterns deep, one question at the bottom: seen, answered, killed, resumed, forked, counted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command
from slice_app import graph

from runtime.book import Book
from runtime.persistence import Persistence
from runtime.travel import at, fork
from state.errors import InputError
from state.record import Record, repeated

HERE = Path(__file__).parent
APPROVE = Command(resume={"decisions": [{"type": "approve"}]})
ALL_CALLS = 10  # planner, counter twice, clerk three times, editor twice, reviser, writer


def deepest(snapshot: Any) -> Any:
    """The snapshot of the innermost graph that has an open question."""
    while True:
        task = next(t for t in snapshot.tasks if t.interrupts)
        if not hasattr(task.state, "tasks"):
            return snapshot
        snapshot = task.state


async def records(home: Persistence, thread: str = "t", branch: str = "main") -> list[Record]:
    return (await Book(home.store, thread=thread, branch=branch, turn=1).load()).records()


async def test_drawing_and_state_see_all_three_levels(sqlite: Persistence) -> None:
    nodes = set(graph.get_graph(xray=True).nodes)
    assert {"assign", "team:weigh", "team:generate:think", "team:generate:gate"} <= nodes
    bound = sqlite.bind(graph)
    await bound.ainvoke({"task": "go"}, at("t"), durability="sync")
    snapshot = await bound.aget_state(at("t"), subgraphs=True)
    inner = deepest(snapshot)
    assert inner.next == ("gate",)
    assert [part.split(":")[0] for part in inner.config["configurable"]["checkpoint_ns"].split("|")] == [
        "team",
        "generate",
    ]


async def test_the_deepest_question_is_answered_from_outside_and_every_call_is_counted_once(
    sqlite: Persistence,
) -> None:
    bound = sqlite.bind(graph)
    waiting = await bound.ainvoke({"task": "go"}, at("t"), durability="sync")
    (question,) = waiting["__interrupt__"]
    assert question.value["action_requests"][0]["args"] == {"to": "ann"}
    done = await bound.ainvoke(APPROVE, at("t"), durability="sync")
    assert done["outcome"] == "completed"
    assert done["usage"]["total"]["calls"] == ALL_CALLS
    book = await records(sqlite)
    assert repeated(book) == []
    assert len([r for r in book if r["kind"] == "model"]) == ALL_CALLS


async def test_an_answer_that_does_not_fit_is_refused_and_can_be_given_again(sqlite: Persistence) -> None:
    bound = sqlite.bind(graph)
    await bound.ainvoke({"task": "go"}, at("t"), durability="sync")
    with pytest.raises(InputError, match="1 decision"):
        await bound.ainvoke(
            Command(resume={"decisions": [{"type": "approve"}, {"type": "approve"}]}), at("t"), durability="sync"
        )
    done = await bound.ainvoke(APPROVE, at("t"), durability="sync")
    assert done["outcome"] == "completed"


async def test_a_fork_in_the_deepest_graph_asks_again_and_repeats_nothing_before_it(sqlite: Persistence) -> None:
    bound = sqlite.bind(graph)
    await bound.ainvoke({"task": "go"}, at("t"), durability="sync")
    inner = deepest(await bound.aget_state(at("t"), subgraphs=True))
    where = inner.config["configurable"]
    await bound.ainvoke(APPROVE, at("t"), durability="sync")

    branch = await fork(bound, "t", where["checkpoint_id"], namespace=where["checkpoint_ns"])
    again = await bound.ainvoke(None, at("t"), durability="sync")
    assert again["__interrupt__"][0].value["action_requests"][0]["args"] == {"to": "ann"}
    edit = {"decisions": [{"type": "edit", "args": {"to": "zoe"}}]}
    done = await bound.ainvoke(Command(resume=edit), at("t"), durability="sync")

    assert done["outcome"] == "completed"
    assert done["usage"]["total"]["calls"] == ALL_CALLS
    book = await records(sqlite, branch=branch)
    assert repeated(book) == []
    inherited = {r["visit"] for r in book if r["task"] == "*"}
    assert {"plan/0/0", "work/0/b", "think/1", "think/2"} <= inherited
    sent = [r["content"]["value"] for r in book if r.get("tool") == "send"]
    assert sent == [{"sent": "zoe"}]
    first = await records(sqlite)
    assert [r["content"]["value"] for r in first if r.get("tool") == "send"] == [{"sent": "ann"}]


def killed_until_done(folder: Path, delays: list[int]) -> tuple[dict[str, Any], list[str]]:
    """Run the slice in processes of their own, each but the last killed after so many milliseconds of work."""
    log = folder / "calls.log"
    log.touch()
    environment = os.environ | {"SLICE_LOG": str(log), "SLICE_PAUSE": "0.02", "PYTHONPATH": f"{HERE}:{HERE.parent}"}
    for delay in [*delays, 0, 0]:
        words = [sys.executable, str(HERE / "slice_process.py"), str(folder / "killed.db"), str(delay)]
        ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode in (0, -9), ran.stderr
        if ran.returncode == 0 and ran.stdout.strip():
            return json.loads(ran.stdout), log.read_text().splitlines()
    raise AssertionError("it did not end")


@pytest.mark.parametrize("delays", [[60, 150], pytest.param([110, 30, 200], marks=pytest.mark.slow)])
def test_killed_and_resumed_no_finished_call_runs_again(tmp_path: Path, delays: list[int]) -> None:
    done, log = killed_until_done(tmp_path, delays)
    assert done["outcome"] == "completed"
    assert done["repeated"] == []
    made = len([line for line in log if line.startswith("call")])
    assert done["calls"] - done["lost"] <= made <= done["calls"]  # one booked may not have been sent when it was killed
    assert log.count("sent ann") == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_killed_anywhere_the_book_counts_exactly_what_was_called(tmp_path: Path, seed: int) -> None:
    delays = [(37 * (seed + 1) * (n + 3)) % 260 for n in range(4)]
    done, log = killed_until_done(tmp_path, [d or 1 for d in delays])
    assert done["outcome"] == "completed"
    assert done["repeated"] == []
    made = len([line for line in log if line.startswith("call")])
    assert done["calls"] - done["lost"] <= made <= done["calls"]  # one booked may not have been sent when it was killed
    assert log.count("sent ann") <= 1
