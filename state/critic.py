"""Critiques: what critics may say, and what follows from it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from state.reducers import merge_keys
from state.turn import Turn

Verdict = Literal["accept", "revise", "reject"]


class Issue(BaseModel):
    """One fault of a draft; a blocking one must be closed before the draft is good."""

    model_config = ConfigDict(extra="forbid")

    severity: Literal["blocking", "major", "minor"]
    where: str = Field(description="The place in the draft")
    what: str = Field(description="What is wrong")
    check: str = Field("", description="How to reproduce it, or to check that it is mended")


class Critique(BaseModel):
    """A critic's word on one draft. A critic never edits."""

    model_config = ConfigDict(extra="forbid")

    verdict: Verdict = Field(description="accept: good as it is; revise: mend the issues; reject: beyond mending")
    issues: list[Issue] = Field(default_factory=list)


class State(Turn, total=False):
    """`critiques` is written by all critics of a round at once, each under its own name."""

    draft: dict[str, Any] | None
    drafted_by: str
    flaw: str
    round: int
    critiques: Annotated[dict[str, Any], merge_keys]
    best: dict[str, Any] | None
    best_open: list[dict[str, Any]]


def verdict_of(critiques: Mapping[str, Mapping[str, Any]]) -> Verdict:
    """All critics' word in one: any reject rejects, anything to mend revises."""
    said = [c["verdict"] for c in critiques.values()]
    if "reject" in said:
        return "reject"
    return "revise" if "revise" in said or blocking(critiques) else "accept"


def issues_of(critiques: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All issues, by critic, in the order of the critics' names."""
    return [{"by": name, **issue} for name in sorted(critiques) for issue in critiques[name]["issues"]]


def blocking(critiques: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The issues that stand in the way."""
    return [i for i in issues_of(critiques) if i["severity"] == "blocking"]


def unheard(critiques: Mapping[str, Mapping[str, Any]]) -> str:
    """Which critics brought no word, and why; empty when all did."""
    missing = "; ".join(c["missing"] for c in critiques.values() if "missing" in c)
    return f"not reviewed by all: {missing}" if missing else ""


def listed(issues: list[dict[str, Any]]) -> str:
    """Issues in one line."""
    return "; ".join(f"{i['severity']} at {i['where']}: {i['what']}" for i in issues) or "nothing named"


def weight(issues: list[dict[str, Any]]) -> tuple[int, int, int]:
    """How bad a draft is: blocking issues first, then major, then minor; less is better."""
    count = [i["severity"] for i in issues]
    return count.count("blocking"), count.count("major"), count.count("minor")
