"""What a manager hands down, what comes up, and how a budget is split on its way down."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from math import ceil
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from state.budget import Limit
from state.reducers import merge_keys
from state.turn import Result, Turn, steps_left

RESERVE = 6  # super-steps that another round and the end need


class Assignment(BaseModel):
    """One task for one of the team."""

    model_config = ConfigDict(extra="forbid")

    assignee: str = Field(description="Who of the team does it: one of the workers' names")
    task: str = Field(description="What is to be done, complete in itself", min_length=1)
    constraints: list[str] = Field(default_factory=list, description="What must hold on the way")
    share: float | None = Field(
        None, gt=0, le=1, description="The part of the team's budget it may use, 0 to 1; empty for an equal part"
    )


class Assignments(BaseModel):
    """A manager's word to its team: tasks that are done at the same time. None at all: the work is done."""

    model_config = ConfigDict(extra="forbid")

    assignments: list[Assignment] = Field(default_factory=list)
    more: bool = Field(False, description="Whether more will be assigned once these results are there")


class Shown(Result, total=False):
    """What a caller sees besides the answer: what was assigned last, and every result of the own team.

    A result is {"assignee", "task", "round", "output": … or None, "outcome", "reason"}.
    """

    assignments: list[dict[str, Any]]
    results: Annotated[dict[str, Any], merge_keys]


class State(Turn, Shown, total=False):
    """`results` is written by the whole team at once, each under its assignment's id ("round/number").

    `faults` are those of the newest word of the manager, `flaw` is why it was not followed in the end.
    """

    round: int
    repairs: int
    faults: list[str]
    flaw: str
    more: bool


def faults(
    said: Assignments, team: Collection[str], *, most: int, first: bool, done: Collection[tuple[str, str]] = ()
) -> list[str]:
    """What is wrong with a manager's word, exactly; `done` is who did what already."""
    out = []
    for given in said.assignments:
        if given.assignee not in team:
            out.append(f"nobody is called {given.assignee!r}; there are {', '.join(sorted(team))}")
    if first and not said.assignments:
        out.append("nothing is assigned; give at least one task")
    if len(said.assignments) > most:
        out.append(f"{len(said.assignments)} tasks are too many at once; give at most {most}")
    parts = [given.share for given in fresh(said, done)]
    given_away = sum(Fraction(str(part)) for part in parts if part is not None)
    if given_away > 1 or (given_away == 1 and None in parts):
        out.append(f"the shares come to {float(given_away):g}; all tasks together may have at most 1")
    return list(dict.fromkeys(out))


def fresh(said: Assignments, done: Collection[tuple[str, str]]) -> list[Assignment]:
    """The assignments that are not done yet: what somebody did well is not asked of them again."""
    return [given for given in said.assignments if (given.assignee, given.task) not in done]


def shares(wanted: Sequence[float | None]) -> list[float]:
    """Everybody's part of the budget: as assigned, else an equal part of the rest, of which the manager keeps one."""
    rest = 1 - sum(Fraction(str(part)) for part in wanted if part is not None)
    each = rest / (wanted.count(None) + 1)
    return [float(each) if part is None else part for part in wanted]


def split(left: Limit, share: float) -> dict[str, int | None]:
    """A part of what is left of a budget, each figure rounded up: what nobody uses stays with the team."""

    def part(figure: int | None) -> int | None:
        return None if figure is None else ceil(max(0, figure) * Fraction(str(share)))

    return {"calls": part(left.calls), "tokens": part(left.tokens), "microusd": part(left.microusd)}


def next_move(state: State, max_rounds: int) -> Literal["delegate", "report"]:
    """What follows a round of work: another, where more was announced or something is missing, or the report."""
    if state["round"] >= max_rounds or steps_left(state) < RESERVE:
        return "report"
    return "delegate" if state.get("more") or lost(results_of(state)) else "report"


def results_of(state: State) -> Mapping[str, Any]:
    """All results, in the order in which they were assigned."""
    found = state.get("results") or {}
    return {i: found[i] for i in sorted(found, key=lambda i: tuple(map(int, i.split("/"))))}


def useful(results: Mapping[str, Any]) -> dict[str, Any]:
    """The results that brought something."""
    return {i: r for i, r in results.items() if r["output"] is not None}


def done(results: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Who did what, and did it well."""
    return {(r["assignee"], r["task"]) for r in results.values() if r["outcome"] == "completed"}


def lost(results: Mapping[str, Any]) -> str:
    """What is missing, and which results are not whole; what a later round made good is not."""

    def made_good(bad: Mapping[str, Any]) -> bool:
        later = (r for r in results.values() if r["round"] > bad["round"] and r["outcome"] == "completed")
        return any(r["assignee"] == bad["assignee"] or r["task"] == bad["task"] for r in later)

    bad = [r for r in results.values() if r["outcome"] != "completed" and not made_good(r)]
    return "; ".join(dict.fromkeys(r["reason"] or f"{r['assignee']} is {r['outcome']}" for r in bad))


def sources(outputs: Sequence[Any]) -> Iterator[str]:
    """The evidence that outputs name, each source once, in order; what has another form is no source."""
    named = (o.get("citations") for o in outputs if isinstance(o, Mapping))
    yield from dict.fromkeys(c for given in named if isinstance(given, list) for c in given if isinstance(c, str))
