"""A debate: what was said in it, and what follows from that."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from state.concurrent import same
from state.record import Record
from state.reducers import merge_keys
from state.turn import Result, Turn

Agreement = Callable[[list[dict[str, Any]]], bool]
TieBreak = Literal["another round", "human", "no_decision"]
Said = Mapping[str, Mapping[str, Any]]


class Verdict(BaseModel):
    """A judge's word on numbered answers."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(ge=1, description="The number of the best answer")
    tie: bool = Field(False, description="Whether no answer is better than another")
    agree: bool = Field(False, description="Whether all answers say the same")
    reason: str = Field("", description="Why, in one sentence")


class Shown(Result, total=False):
    """What a caller sees besides the answer.

    `said` is all that was said, by visit: {"by", "phase", "round", "output" or None, "outcome", "reason"}.
    `verdicts` are the judge's looks at the answers, by visit: {"round", "order", "winner" ("" for a tie, None
    for no word), "agree", "why", "outcome", "reason"}. `cost_factor` is the tokens of the whole debate over
    those of one first answer, in the mean; None where no model answered.
    """

    said: Annotated[dict[str, Any], merge_keys]
    verdicts: Annotated[dict[str, Any], merge_keys]
    cost_factor: float | None


class State(Turn, Shown, total=False):
    """`said` is written by all debaters at once, `verdicts` by both of the judge's looks, each under its visit.

    `phase` is what the debaters do now, `order` the one in which the judge sees them, `flaw` what cut the
    debate short.
    """

    phase: str
    round: int
    order: list[str]
    flaw: str


def in_debate(said: Said, names: Sequence[str]) -> list[str]:
    """Who is still in: whoever failed once is left out."""
    out = {s["by"] for s in said.values() if s["output"] is None}
    return [name for name in names if name not in out]


def answers_of(said: Said, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The newest answer of each of these who gave one, in their order."""
    given = [s for s in said.values() if s["phase"] != "criticise" and s["output"] is not None]
    newest = {s["by"]: s["output"] for s in sorted(given, key=lambda s: s["round"])}
    return {name: newest[name] for name in names if name in newest}


def criticisms_of(said: Said, round_: int, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What these criticised in a round, in their order."""
    found = {s["by"]: s["output"] for s in said.values() if (s["phase"], s["round"]) == ("criticise", round_)}
    return {name: found[name] for name in names if found.get(name) is not None}


def faults(said: Said) -> str:
    """Who is left out, or said less than the contract wants, and why; in the order of the debate."""
    phases = ("answer", "criticise", "revise")
    wrong = [s for s in said.values() if s["outcome"] != "completed"]
    ordered = sorted(wrong, key=lambda s: (s["round"], phases.index(s["phase"]), s["by"]))
    return "; ".join(f"left out: {s['reason']}" if s["output"] is None else s["reason"] for s in ordered)


def alike(answers: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all say the same, but for case, spaces, a closing mark, their sources and how sure they are."""
    return len({same(answer) for answer in answers}) == 1


def surest(answers: Mapping[str, Mapping[str, Any]]) -> str:
    """Whose answer says the highest confidence; the first of equals."""
    return max(answers, key=lambda name: _sure(answers[name]))


def shuffled(names: Iterable[str], seed: int, round_: int) -> list[str]:
    """An order that the seed decides, another in each round, whatever order the names came in."""
    out = sorted(names)
    random.Random(f"{seed}/{round_}").shuffle(out)
    return out


def turned(order: Sequence[str]) -> list[str]:
    """Another order, in which nobody stands in the same place: of two, the other way round."""
    half = len(order) // 2
    return [*order[half:], *order[:half]]


def winner_of(verdict: Verdict, order: Sequence[str]) -> str | None:
    """Whom a verdict names: nobody for a tie, None when it names a number that is not there."""
    if verdict.tie:
        return ""
    return order[verdict.number - 1] if verdict.number <= len(order) else None


def ruling(verdicts: Iterable[Mapping[str, Any]]) -> str | None:
    """What the judge's looks come to: one name, nobody for a tie or a contradiction, None without any word."""
    named = {v["winner"] for v in verdicts} - {None}
    return None if not named else named.pop() if len(named) == 1 else ""


def cost_factor(records: Iterable[Record], path: str) -> float | None:
    """Tokens of all these records over the mean tokens of the debaters' first answers, at this path."""
    start = f"{path}/answer/0/" if path else "answer/0/"
    first: dict[str, int] = {}
    whole = 0
    for r in records:
        if r["kind"] != "model" or r.get("cached"):
            continue
        tokens = r["tokens_in"] + (r["tokens_out"] if r["outcome"] else 0)  # as in the usage
        whole += tokens
        visit = f"{r['path']}/{r['visit']}".removeprefix("/")
        if visit.startswith(start):
            who = visit.removeprefix(start).split("/")[0].split("~")[0]  # a fallback stands in for its agent
            first[who] = first.get(who, 0) + tokens
    return round(whole * len(first) / sum(first.values()), 2) if sum(first.values()) else None


def _sure(answer: Mapping[str, Any]) -> float:
    sure = answer.get("confidence")
    return float(sure) if isinstance(sure, int | float) else 0.0
