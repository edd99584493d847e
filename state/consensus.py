"""What a vote remembers of its rounds, and what follows from them.

A paper is what came back from one voter: {"voter", "agent", "round", "output" or None, "outcome", "reason"}.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from state.agent import Text
from state.ballot import Box, Key, Vote, alike, cast, read
from state.errors import InputError
from state.reducers import merge_keys
from state.task import Task
from state.turn import Result, Turn
from state.voting import Count, Rule, count

TieBreak = Literal["none", "listed", "seeded"]
Paper = Mapping[str, Any]

LONGEST = 2000  # characters of a choice in a tally that voters are shown


class Elected(BaseModel):
    """What was decided, and how clearly. `choice` is None where nothing was; `leading` are then who came nearest."""

    model_config = ConfigDict(extra="forbid")

    choice: str | None
    votes: int = Field(description="Votes or points for the choice")
    of: int = Field(description="Of how many")
    share: float = Field(description="votes / of")
    tally: dict[str, int] = Field(description="Votes or points by option")
    leading: list[str] = Field(default_factory=list)
    rule: str
    rounds: int
    by: str = Field("", description="The person who decided, where the vote did not")


class Shown(Result, total=False):
    """What a caller also sees: the options, every paper of every round, and every count."""

    options: list[str]
    round: int
    papers: Annotated[dict[str, Any], merge_keys]
    counts: list[dict[str, Any]]


class State(Turn, Shown, total=False):
    """`papers` is written by all voters of a round at once, each under "<voter>/<round>"."""


def options_of(task: Task, given: Sequence[str], rule: Rule) -> list[str]:
    """The options of a turn: those of `context["options"]`, else those given at build; none where the vote is open.

    Raises InputError for what is no list of different texts, or none where the rule needs some.
    """
    found = task.context.get("options", list(given))
    if not isinstance(found, list) or not all(isinstance(o, str) and o.strip() for o in found):
        raise InputError("`context['options']` must be a list of texts")
    if fault := unfit(found, rule):
        raise InputError(f"the options of this vote do not fit: {fault}")
    return found


def unfit(options: Sequence[str], rule: Rule) -> str:
    """Why options cannot be voted on by a rule; empty when they can."""
    same = [alike(o) for o in options]
    if twice := [o for o in options if same.count(alike(o)) > 1]:
        return f"{twice[0]!r} is there twice"
    if len(options) == 1:
        return f"{options[0]!r} is the only one; give at least two"
    if rule.most is not None and len(options) > rule.most:
        return f"{rule.name} takes at most {rule.most}, not {len(options)}"
    if rule.reads != "choice" and not options:
        return f"{rule.name} needs options: give `options`, or `context['options']` in the task"
    return ""


def faulty(output: Mapping[str, Any], rule: Rule, options: Sequence[str], key: Key | None) -> str:
    """Why a voter's output is a spoiled ballot; empty when it is sound."""
    vote, fault = read(output, rule.reads, options, key)
    incomplete = rule.complete and not fault and not vote["abstain"] and len(vote["ranking"]) < len(options)
    return f"it ranks {len(vote['ranking'])} of {len(options)} options" if incomplete else fault


def boxed(
    papers: Mapping[str, Paper],
    electorate: Sequence[str],
    epoch: int,
    rule: Rule,
    options: Sequence[str],
    key: Key | None,
) -> tuple[Box, dict[str, str]]:
    """The box of one round, and why voters of it are lost: they failed, or their ballot is spoiled.

    Who is lost counts as abstaining. What comes back is the same in whatever order the papers came.
    """
    box, lost = Box(tuple(electorate), epoch), {}
    mine = {p["voter"]: p for p in papers.values() if p["round"] == epoch}
    for voter in electorate:
        paper = mine.get(voter) or {"output": None, "reason": f"{voter}: no ballot", "agent": voter}
        vote: dict[str, Any] = {"abstain": True}
        if paper["output"] is None:
            lost[voter] = paper["reason"]
        elif fault := faulty(paper["output"], rule, options, key):
            lost[voter] = f"{voter}: a spoiled ballot, {fault}"
        else:
            vote, _ = read(paper["output"], rule.reads, options, key)
        box = cast(box, {**vote, "voter": voter, "agent": paper["agent"]}, epoch=epoch)
    return box, lost


def counted(box: Box, rule: Rule, options: Sequence[str], *, quorum: int, tie_break: TieBreak, seed: int) -> Count:
    """The count of a box. A seeded tie-break shuffles the options by the seed, and by nothing else."""
    names = list(options) or sorted({str(v["choice"]) for v in box.votes.values() if not v["abstain"]})
    if tie_break == "seeded":
        order: list[str] | None = random.Random(seed).sample(sorted(names), len(names))
    else:
        order = names if tie_break == "listed" else None
    votes = list(box.votes.values())
    return count(rule, votes, options, eligible=len(box.electorate), quorum=quorum, order=order or None)


def words(box: Box, papers: Mapping[str, Paper], options: Sequence[str]) -> dict[str, str]:
    """How each choice is put: options as they are, open choices in the words of their surest voter."""
    said: dict[str, tuple[float, str]] = {}
    for voter, vote in box.votes.items():
        if vote["abstain"] or options:
            continue
        output = papers[f"{voter}/{box.epoch}"]["output"]
        text, sure = str(output.get("text") or output.get("choice")), _sure(vote)
        if vote["choice"] not in said or sure > said[vote["choice"]][0]:
            said[vote["choice"]] = (sure, text)
    return {**{o: o for o in options}, **{choice: text for choice, (_, text) in said.items()}}


def tallied(found: Count, put: Mapping[str, str]) -> dict[str, Any]:
    """A count as plain data, every option in its words."""
    return {
        **asdict(found),
        "decision": None if found.decision is None else put[found.decision],
        "leading": [put[o] for o in found.leading],
        "tally": {put[o]: n for o, n in found.tally.items()},
        "stages": list(found.stages),
    }


def elected(found: Mapping[str, Any], rule: Rule, rounds: int, *, choice: str | None, by: str = "") -> dict[str, Any]:
    """The answer of a vote whose voters return Ballots."""
    votes = found["tally"].get(choice, 0) if choice is not None else found["votes"]
    return Elected(
        choice=choice,
        votes=votes,
        of=found["of"],
        share=round(votes / found["of"], 4) if found["of"] else 0.0,
        tally=found["tally"],
        leading=[] if choice is not None else found["leading"],
        rule=rule.name,
        rounds=rounds,
        by=by,
    ).model_dump(mode="json")


def surest(box: Box, papers: Mapping[str, Paper], choice: str) -> Paper:
    """The paper of the surest of those who voted for a choice, the first of equals."""
    mine = [v for v, vote in box.votes.items() if not vote["abstain"] and vote["choice"] == choice]
    return papers[f"{max(mine, key=lambda v: _sure(box.votes[v]))}/{box.epoch}"]


def undecided(found: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of a vote of texts that decided nothing: that it did not, and what came nearest."""
    near = [f"{found['votes']} of {found['of']} for: {said}" for said in found["leading"]]
    return Text(text="\n\n".join([f"No decision: {found['why']}.", *near])).model_dump(mode="json")


def earlier(found: Mapping[str, Any], papers: Mapping[str, Paper], epoch: int) -> dict[str, Any]:
    """What a voter is shown of the round before: the tally and the arguments, in an order that tells no names."""
    said = {str((p["output"] or {}).get("argument") or "") for p in papers.values() if p["round"] == epoch}
    tally = [
        f"{n} of {found['of']} for: {o[:LONGEST]}"
        for o, n in sorted(found["tally"].items(), key=lambda i: (-i[1], i[0]))
    ]
    return {"votes so far": tally, "arguments": sorted(said - {""})}


def _sure(vote: Vote) -> float:
    return -1.0 if vote["confidence"] is None else float(vote["confidence"])
