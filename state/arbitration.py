"""Sides of a conflict, the rules that resolve it, and why each side lost. Pure.

A side is {"at", "agent", "output" or None, "outcome", "reason", "confidence"} as a branch's result of
`concurrent` is, and may have "when": a number that rises with time. Sides that say the same are no
conflict. Each rule leaves those standing that rank highest by it, and the next one looks at these; a
rule that can rank nobody has no say. No decision depends on the order of the sides, but that of equals
who are still tied at the end the first is taken, and that is said.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from state.agent import Text
from state.concurrent import Aggregator, Key, Settled, same, useful
from state.errors import InputError
from state.reducers import merge_keys
from state.task import Task
from state.turn import Result, Turn, explain, task_of

Side = Mapping[str, Any]


class Statement(BaseModel):
    """One side as a caller gives it: a text, or an output of another form."""

    model_config = ConfigDict(extra="forbid")

    agent: str = Field("", description="Whose it is")
    text: str = Field("", description="What it says")
    output: dict[str, Any] | None = Field(None, description="What it says, where that is no text")
    citations: list[str] = Field(default_factory=list, description="Its sources, as file#section")
    confidence: float | None = Field(None, ge=0, le=1, description="How sure it is, 0 to 1")
    when: float | None = Field(None, description="When it was said: seconds since the epoch, or any rising number")

    @model_validator(mode="after")
    def says_something(self) -> "Statement":
        """Refuse a side that says nothing, or two things."""
        if bool(self.text.strip()) == (self.output is not None):
            raise ValueError("give either a text or an output")
        return self


class Ruling(BaseModel):
    """An arbiter's word on numbered sides."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(description="The number of the side that is right", ge=1)
    reason: str = Field("", description="Why it is right, in one sentence")


class Shown(Result, total=False):
    """What a caller sees besides the answer.

    `ruling` is {"by", "reason", "sides"}: what decided (a rule, "agreement" or the arbiter's name; empty
    where nothing could), and every side with `won` and, where it lost, `why`.
    """

    ruling: dict[str, Any] | None


class State(Turn, Shown, total=False):
    """`results` is written by all sides at once, each under its visit."""

    results: Annotated[dict[str, Any], merge_keys]


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to resolve: `rank` gives a side's worth among the sides still standing, or None for none."""

    name: str
    rank: Callable[[Side, Sequence[Side]], float | None]


@dataclass(frozen=True, slots=True)
class Decision:
    """What rules come to: the sides still standing, what decided, and why the others lost, by their `at`."""

    standing: tuple[Side, ...]
    by: str
    lost: Mapping[int, str]
    tied: bool


def priority(*names: str) -> Rule:
    """Static priority: the agent that is named first; who is not named comes after all who are."""
    places = {name: float(len(names) - n) for n, name in enumerate(names)}
    return Rule("priority", lambda side, among: places.get(side["agent"], 0))


def confidence() -> Rule:
    """The side that is surest of itself; one that does not say comes last."""
    return Rule("confidence", lambda side, among: _number(side["confidence"]))


def recency() -> Rule:
    """The side that was said last, by `when`; one without it comes last."""
    return Rule("recency", lambda side, among: _number(side.get("when")))


def expertise(weights: Mapping[str, float]) -> Rule:
    """The agent of the most weight in this subject; 0 for who is not named."""
    return Rule("expertise", lambda side, among: weights.get(side["agent"], 0))


def vote(weights: Mapping[str, float] | None = None, key: Key = same) -> Rule:
    """What most sides say; each counts 1, or its weight."""

    def votes(side: Side, among: Sequence[Side]) -> float:
        said = key(side["output"])
        return sum((weights or {}).get(s["agent"], 1) for s in among if key(s["output"]) == said)

    return Rule("vote", votes)


def decide(sides: Sequence[Side], rules: Sequence[Rule], key: Key = same) -> Decision:
    """Let each rule narrow the sides, until those that are left say the same. Every side must have an output."""
    standing, by = list(sides), "agreement"
    lost: dict[int, str] = {}
    for rule in rules:
        if agree(standing, key):
            break
        ranks = {s["at"]: rule.rank(s, standing) for s in standing}
        top = max((r for r in ranks.values() if r is not None), default=None)
        below = [s for s in standing if ranks[s["at"]] != top]
        if top is None or not below:
            continue
        standing, by = [s for s in standing if ranks[s["at"]] == top], rule.name
        ahead = ", ".join(s["agent"] for s in standing)
        lost |= {s["at"]: f"by {rule.name}: {_worth(ranks[s['at']])} against {_worth(top)} of {ahead}" for s in below}
    tied = not agree(standing, key)
    return Decision(tuple(standing), "" if tied else by, lost, tied)


def agree(sides: Sequence[Side], key: Key = same) -> bool:
    """Whether all sides say the same, so that there is no conflict."""
    return len({key(s["output"]) for s in sides}) <= 1


def foremost(sides: Sequence[Side]) -> Side:
    """The surest of some sides; the first of equals."""

    def surest(side: Side) -> tuple[float, int]:
        sure = _number(side["confidence"])
        return -math.inf if sure is None else sure, -side["at"]

    return max(sides, key=surest)


def tie(standing: Sequence[Side]) -> str:
    """In words, that nothing decides between some sides."""
    return f"nothing decides between {', '.join(s['agent'] for s in standing)}"


def record(
    sides: Sequence[Side],
    found: Decision,
    answer: Mapping[str, Any] | None,
    *,
    by: str = "",
    reason: str = "",
    key: Key = same,
) -> dict[str, Any]:
    """Every side, whether it won, and why not: it won if it says what the answer says.

    `by` is who decided where that was no rule, and `reason` what they said; sides that brought no output
    lost for the reason that they gave.
    """
    said = None if answer is None else key(dict(answer))
    out = []
    for side in sides:
        won = side["output"] is not None and key(side["output"]) == said
        gone = "" if side["output"] is not None else side["reason"] or "brought no result"
        tied = (
            f"by {by}: {reason or 'another answer is taken'}" if by else f"{tie(found.standing)}, and another is taken"
        )
        why = "" if won else gone or found.lost.get(side["at"]) or tied
        kept = {k: side.get(k) for k in ("at", "agent", "output", "confidence", "when")}
        out.append({**kept, "won": won, "why": why})
    return {"by": by or found.by, "reason": reason, "sides": out}


def given(task: Task) -> list[dict[str, Any]] | None:
    """The sides in a task's `context["results"]`; None where it has none.

    Each is a string, a Statement as a mapping, or an output of any other form. Raises InputError when
    it is not a list of at least one of these.
    """
    if "results" not in task.context:
        return None
    items = task.context["results"]
    if not isinstance(items, list) or not items:
        raise InputError("`context['results']` must be a list of at least one result: a text, or a mapping")
    return [_side(at, one) for at, one in enumerate(items)]


def _side(at: int, one: Any) -> dict[str, Any]:
    if isinstance(one, str):
        one = {"text": one}
    if not isinstance(one, Mapping):
        raise InputError(f"result {at + 1} is {one!r}; give a text, or a mapping with agent and text or output")
    if not {"text", "output"} & set(one):
        one = {"output": dict(one)}
    try:
        said = Statement.model_validate(one)
    except ValidationError as error:
        raise InputError(f"result {at + 1}: {explain(error)}") from error
    text = Text(text=said.text, citations=said.citations, confidence=said.confidence)
    return {
        "at": at,
        "agent": said.agent or f"side {at + 1}",
        "output": text.model_dump(mode="json") if said.output is None else said.output,
        "outcome": "completed",
        "reason": "",
        "confidence": said.confidence,
        "when": said.when,
    }


def results_of(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """Sides as the results that `given` reads: what an arbiter is shown, whether an agent or another arbitration."""

    def sure(side: Side) -> float | None:
        number = _number(side["confidence"])
        return number if number is not None and 0 <= number <= 1 else None

    return [
        {"agent": s["agent"], "output": s["output"], "confidence": sure(s), "when": _number(s.get("when"))}
        for s in sides
    ]


def arbitrate(*rules: Rule, key: Key = same, sides: bool = False) -> Aggregator:
    """Rules as an aggregator of `concurrent`: its branches are the sides, and a tie is a flaw: degraded.

    The answer is the winner's; with `sides` it is {"text" or "output", "ruling"} instead, every side in
    it with why it lost. Without, `record` tells the same of the branches' results.
    """

    def settle(found: Sequence[Side]) -> Settled:
        decision = decide(found, rules, key)
        best = foremost(decision.standing)
        answer = dict(best["output"])
        if sides:
            text = {"text": answer["text"]} if isinstance(answer.get("text"), str) else {"output": answer}
            answer = text | {"ruling": record(found, decision, best["output"], key=key)}
        return Settled(answer, best["agent"], tie(decision.standing) if decision.tied else "")

    return Aggregator(name="arbitrate", settle=settle)


def heard(state: State) -> list[Any]:
    """The sides of this turn in order: those that were given, else what the agents brought."""
    sides = given(task_of(state))
    return useful(state.get("results") or {}) if sides is None else sides


def _number(value: Any) -> float | None:
    """A number that can be ranked: an agent's own model may call something else its confidence."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _worth(rank: float | None) -> str:
    return "nothing" if rank is None else f"{rank:g}"
