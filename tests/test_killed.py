"""Runs that are killed at random moments, or at one point after the other, and resumed until they are over."""

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_apps import APPS
from killing import ForkServer, asked, done_in, effects, faults
from makers import MAKERS

FEW = (*APPS, "critic", "pipeline", "router")
SAMPLE = 2  # crash points of each graph in the default suite
PER_PATTERN = 12  # crash points of each pattern besides the graphs that are tried at all of theirs


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(FEW) as started:
        yield started


def killed(server: ForkServer, names: list[str], kills: int, folder: Path, *, most: int, seed: int) -> Counter[str]:
    """Kill runs of these graphs so often, at most so often each, and count what was wrong with any of them."""
    dice, counts = random.Random(seed), Counter[str]()
    seconds: dict[str, float] = {}
    clean: dict[str, int] = {}
    while counts["kills"] < kills:
        name = names[counts["runs"] % len(names)]
        if name not in clean:
            seconds[name] = server.sit(name, folder / name)["seconds"]
            clean[name] = len(effects(folder / name))
        here, left = folder / f"run-{counts['runs']}", min(most, kills - counts["kills"])
        while done_in(here) is None:
            kill = dice.uniform(0, seconds[name]) if left > 0 else None
            ended = server.sit(name, here, kill=kill, early=kill is not None and dice.random() < 0.2)
            counts["kills"] += ended["status"] == -9
            left -= 1
        counts["runs"] += 1
        counts["asked"] += asked(here)
        counts.update(faults(here, clean[name]))
        shutil.rmtree(here)
    return counts


def wrong(counts: Counter[str]) -> dict[str, int]:
    return {what: n for what, n in counts.items() if what not in ("kills", "runs", "asked")}


def crashed(server: ForkServer, name: str, folder: Path, *, sample: int | None = None) -> tuple[int, dict[str, int]]:
    """Crash a graph at each of its points, or at some that lie evenly; how many, and all that was wrong."""
    folder.mkdir(exist_ok=True)
    server.sit(name, folder / "clean", crash=0)
    done = done_in(folder / "clean")
    assert done is not None
    assert done["outcome"] == "completed"
    clean, points = len(effects(folder / "clean")), done["points"]
    step = max(1, points // sample) if sample else 1
    tried, found = 0, dict[str, int]()
    for point in range(1 + step // 2, points + 1, step):
        here = folder / f"point-{point}"
        server.sit(name, here, crash=point)
        while done_in(here) is None:
            server.sit(name, here)
        tried += 1
        found |= {f"{what}, at point {point}": n for what, n in faults(here, clean).items() if n}
        shutil.rmtree(here)
    return tried, found


def test_a_run_that_is_killed_loses_and_repeats_nothing(server: ForkServer, tmp_path: Path) -> None:
    counts = killed(server, list(FEW), 10, tmp_path, most=2, seed=1)
    assert counts["kills"] == 10
    assert not any(wrong(counts).values()), counts


def test_no_effect_happens_twice_whichever_point_a_run_crashes_at(server: ForkServer, tmp_path: Path) -> None:
    for name in APPS:
        assert crashed(server, name, tmp_path / name, sample=SAMPLE)[1] == {}


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_thousand_kills_lose_and_repeat_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [*APPS, *sorted(MAKERS)]
    with ForkServer(names) as server:
        counts = killed(server, names, 1000, tmp_path, most=6, seed=2)
    with capsys.disabled():
        found = ", ".join(f"{n} {what}" for what, n in wrong(counts).items())
        print(f"\n{counts['kills']} kills in {counts['runs']} runs of {len(names)} graphs: {found}")
        print(f"a person was asked what became of {counts['asked']} calls")
    assert not any(wrong(counts).values())


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", [*APPS, *sorted(MAKERS)])
def test_no_effect_happens_twice_at_any_crash_point(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ForkServer([name]) as server:
        tried, found = crashed(server, name, tmp_path, sample=None if name in APPS else PER_PATTERN)
    with capsys.disabled():
        print(f"\n{name}: {tried} crash points, {len(found)} faults")
    assert found == {}
