"""Several processes on one thread: one works, the others are told, and nothing is done twice."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def races(folder: Path, *wanted: str) -> dict[str, list[dict[str, Any]]]:
    script = [sys.executable, str(ROOT / "tests" / "race_process.py"), str(folder), *wanted]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "MOTET_HOME": str(folder / "home")}
    ran = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=2400, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for race in map(json.loads, ran.stdout.splitlines()):
        found.setdefault(race["what"], []).append(race)
        assert race["sound"] == "ok"
    return found


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """A few races of each kind, of one process, since most of the time goes into its start."""
    return races(tmp_path_factory.mktemp("races"), "resume:4", "begin:2", "crowd:3", "stopped:1")


def refused(said: str) -> bool:
    return said.startswith("ThreadError: thread 't' is at work elsewhere")


def check_resumes(found: list[dict[str, Any]]) -> None:
    for race in found:
        assert all(s == "completed" or refused(s) for s in race["said"]), race["said"]
        assert "completed" in race["said"]
        assert race["forks"] == 0
        once = Counter(race["effects"][len(race["before"]) :])
        assert set(once.values()) == {1}
        assert set(race["effects"]) == {"s0", "s1", "s2", "s3", "s4"}
    assert any(refused(s) for race in found for s in race["said"])


def check_beginnings(found: list[dict[str, Any]]) -> None:
    for race in found:
        assert all(s == "completed" or refused(s) for s in race["said"]), race["said"]
        done = race["said"].count("completed")
        assert race["turns"] == done >= 1
        assert race["forks"] == 0
        assert set(Counter(race["effects"]).values()) == {done}


def test_of_two_processes_that_resume_a_thread_one_works_and_the_other_is_told(some: Any) -> None:
    check_resumes(some["resume"])


def test_of_two_processes_that_begin_a_thread_none_forks_it(some: Any) -> None:
    check_beginnings(some["begin"])


@pytest.mark.slow
def test_a_hundred_races_end_without_a_fork_or_an_effect_done_twice(tmp_path: Path) -> None:
    found = races(tmp_path, "resume:80", "begin:20")
    check_resumes(found["resume"])
    check_beginnings(found["begin"])


def check_crowd(race: dict[str, Any], count: int) -> None:
    done = race["said"].count("completed")
    assert len(race["said"]) == count
    assert done + sum(map(refused, race["said"])) == count, race["said"]
    assert race["turns"] == done >= 1
    assert race["forks"] == 0
    assert set(Counter(race["effects"]).values()) == {done}


def test_inputs_from_several_processes_at_once_are_applied_or_refused_aloud(some: Any) -> None:
    check_crowd(some["crowd"][0], 15)


@pytest.mark.slow
def test_fifty_inputs_from_ten_processes_are_applied_or_refused_aloud(tmp_path: Path) -> None:
    check_crowd(races(tmp_path, "crowd:10")["crowd"][0], 50)


def check_stopped(race: dict[str, Any]) -> None:
    told, done = sorted(race["said"])
    assert done == "completed"
    assert told.startswith("OvertakenError: thread 't' was taken over by another run while this one was stopped")
    assert race["rows"] > 20
    assert race["changed"] == []
    assert race["forks"] == 0


def test_a_holder_that_was_stopped_past_its_lease_saves_nothing_more_and_says_so(some: Any) -> None:
    check_stopped(some["stopped"][0])


@pytest.mark.slow
def test_twenty_holders_that_were_stopped_save_nothing_more(tmp_path: Path) -> None:
    for race in races(tmp_path, "stopped:20")["stopped"]:
        check_stopped(race)
