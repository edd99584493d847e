"""Routes: which of some named agents a task is for, and what follows from that."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from state.agent import Outcome
from state.answers import joined
from state.reducers import merge_keys
from state.turn import Result, Turn, reasons


class Route(BaseModel):
    """Who a task is for."""

    model_config = ConfigDict(extra="forbid")

    agent: str = Field(description="The name of the one who fits the task best")
    also: list[str] = Field(default_factory=list, description="Others whose answers the task needs too")
    confidence: float = Field(ge=0, le=1, description="How sure the choice is, 0 to 1")
    reason: str = Field("", description="Why, in one sentence")
    question: str = Field("", description="If it is not sure: the question to the user whose answer would settle it")

    @property
    def names(self) -> list[str]:
        """All who are named, each once."""
        return list(dict.fromkeys((self.agent, *self.also)))


class Shown(Result, total=False):
    """What a caller sees besides the answer: the Route that was taken last, and who was sent the task."""

    route: dict[str, Any] | None
    chosen: list[str]


class State(Turn, Shown, total=False):
    """`results` is written by all who were chosen at once, each under its own name.

    A result is {"output" or None, "outcome", "reason", "by"}: a fallback of its own may have answered for it.
    `fault` is what was wrong with the last route, `misses` how many were wrong in a row, `asked_back` how many
    questions the user was asked; `detour` is why the fallback has the task, `flaw` what makes it degraded.
    """

    fault: str
    misses: int
    asked_back: int
    detour: str
    flaw: str
    results: Annotated[dict[str, Any], merge_keys]


def misnamed(names: Sequence[str], known: Collection[str], *, several: bool = True) -> str:
    """What is wrong with a choice among known names, for the one who made it; empty when it is sound."""
    if unknown := [repr(name[:80]) for name in names if name not in known]:
        return f"there is no {' and no '.join(unknown[:5])}; the names are {', '.join(known)}"
    return "name one only, and leave `also` empty" if len(names) > 1 and not several else ""


def question_of(route: Mapping[str, Any], goal: str, team: Mapping[str, str]) -> str:
    """What to ask the user: the classifier's own question, unless it has none or only repeats the task."""
    own = str(route.get("question") or "").strip()
    if own and own.casefold() != goal.strip().casefold():
        return own
    return "What is this about? " + " ".join(f"{name}: {said}" for name, said in team.items())


def conclusion(
    results: Mapping[str, Mapping[str, Any]], chosen: Sequence[str], flaw: str
) -> tuple[Outcome, str, dict[str, Any] | None]:
    """What the answers of the chosen come to: outcome, reason, and one answer, or several under their names.

    One who has brought nothing, or less than a whole answer, makes it degraded; `flaw` too.
    """
    said = {name: results[name] for name in chosen}
    found = {name: r["output"] for name, r in said.items() if r["output"] is not None}
    ends = [r["outcome"] for r in said.values() if r["outcome"] != "completed"]
    reason = reasons(flaw, *(r["reason"] for r in said.values()))
    answer = next(iter(found.values())) if len(chosen) == 1 and found else joined(found) if found else None
    if "out_of_budget" in ends:
        return "out_of_budget", reason, answer
    if ends and (len(chosen) == 1 or not found):
        return ends[0], reason, answer
    return ("degraded" if ends or flaw else "completed"), reason, answer
