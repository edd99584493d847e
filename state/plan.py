"""Plans: what a planner may write, what is wrong with it, and what comes next."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Step(BaseModel):
    """One piece of work for one worker."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="A short name, unique in the plan", min_length=1)
    worker: str = Field(description="Who does it: one of the workers' names")
    task: str = Field(description="What is to be done, complete in itself", min_length=1)
    needs: list[str] = Field(default_factory=list, description="Ids of the steps whose results it needs")
    critical: bool = Field(True, description="Whether the plan fails when this step does")
    accept: str = Field("", description="How to tell that it is done well")


class Plan(BaseModel):
    """Steps in any order; their needs make the order."""

    model_config = ConfigDict(extra="forbid")

    steps: list[Step] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a plan stands, as ids in plan order."""

    ready: list[str]
    skipped: list[str]
    failed: list[str]
    broken: list[str]

    @property
    def over(self) -> bool:
        """Whether nothing more can be done under this plan."""
        return bool(self.broken) or not self.ready


def faults(plan: Plan, workers: Collection[str], done: Collection[str] = ()) -> list[str]:
    """What is wrong with a plan, exactly; `done` are ids of an earlier plan whose results still stand."""
    ids = [s.id for s in plan.steps]
    out = [f"the id {i!r} stands {ids.count(i)} times" for i in dict.fromkeys(ids) if ids.count(i) > 1]
    for step in plan.steps:
        if step.worker not in workers:
            out.append(f"step {step.id!r}: no worker is called {step.worker!r}; there are {', '.join(sorted(workers))}")
        out += [
            f"step {step.id!r} needs {need!r}, which is no step" for need in step.needs if need not in {*ids, *done}
        ]
    if not out and (stuck := circle(plan, done)):
        out.append(f"the steps {', '.join(map(repr, stuck))} need each other in a circle")
    return out


def circle(plan: Plan, done: Collection[str] = ()) -> list[str]:
    """Ids of the steps that can never begin."""
    finished, left = set(done), {s.id: set(s.needs) for s in plan.steps}
    while ready := [i for i, needs in left.items() if needs <= finished]:
        finished |= set(ready)
        for i in ready:
            del left[i]
    return list(left)


def progress(plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> Progress:
    """What may run now, what never will, what failed, and which failures end the plan.

    A result has `output`, which is None where the step failed, and `fatal` where that fails the plan.
    """
    failed = [s.id for s in plan.steps if s.id in results and results[s.id]["output"] is None]
    lost = set(failed)
    skipped: list[str] = []
    grew = True
    while grew:
        more = [s.id for s in plan.steps if s.id not in lost and s.id not in results and lost & set(s.needs)]
        lost |= set(more)
        skipped += more
        grew = bool(more)
    have = {i for i, r in results.items() if r["output"] is not None}
    ready = [s.id for s in plan.steps if s.id not in results and s.id not in lost and set(s.needs) <= have]
    broken = [s.id for s in plan.steps if s.id in failed and s.critical and results[s.id].get("fatal", True)]
    order = [s.id for s in plan.steps]
    return Progress(ready, sorted(skipped, key=order.index), failed, broken)


def inputs_of(step: Step, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Exactly the results that a step depends on."""
    return {need: results[need]["output"] for need in step.needs}


def missing(plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> str:
    """What a synthesis has to do without, and why; empty when nothing is missing."""
    now = progress(plan, results)
    words = [f"{i} ({results[i]['reason']})" for i in now.failed]
    words += [f"{i} (skipped: it needs what is missing)" for i in now.skipped]
    return "; ".join(words)
