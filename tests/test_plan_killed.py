"""A plan that is killed in the middle, and whose steps finish in another order after the resume."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
EXPECTED = {f"s{n}": f"done s{n} after {[f's{n - 4}'] if n >= 4 else []}" for n in range(16)}


def run(database: Path, seed: int, milliseconds: int) -> dict[str, Any] | None:
    words = [sys.executable, str(HERE / "plan_process.py"), str(database), str(seed), str(milliseconds)]
    environment = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent}"}
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode in (0, -9), ran.stderr
    return json.loads(ran.stdout) if ran.returncode == 0 else None


def resumed(database: Path, delays: list[int]) -> dict[str, Any]:
    """Each process has other durations, so other steps are ready first."""
    for seed, delay in enumerate([*delays, 0]):
        if (done := run(database, seed, delay)) is not None:
            return done
    raise AssertionError("it did not end")


@pytest.mark.parametrize("delays", [[70, 60], pytest.param([120, 40, 60], marks=pytest.mark.slow)])
def test_each_step_keeps_its_own_result_when_others_finish_first_after_the_resume(
    tmp_path: Path, delays: list[int]
) -> None:
    done = resumed(tmp_path / "plan.db", delays)
    assert (done["outcome"], done["repeated"]) == ("completed", [])
    assert done["results"] == EXPECTED


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_each_step_keeps_its_own_result_wherever_it_was_killed(tmp_path: Path, seed: int) -> None:
    done = resumed(tmp_path / "plan.db", [30 + (seed * 53) % 170, 20 + (seed * 31) % 140, 20 + (seed * 17) % 120])
    assert (done["outcome"], done["repeated"]) == ("completed", [])
    assert done["results"] == EXPECTED
