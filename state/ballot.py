"""Ballots: what a voter may say, what makes a ballot spoiled, and the box that takes one a voter an epoch.

A vote is plain data: {"voter", "agent", "abstain", "choice", "ranking", "approved", "confidence"}, where
options stand as the keys they are counted under.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Vote = Mapping[str, Any]
Reads = Literal["choice", "ranking", "approved"]
Key = Callable[[str], str]

ABSTAIN = "abstain"  # a text that says only this is an abstention


class Ballot(BaseModel):
    """One voter's word. Which part counts is the rule's matter: a choice, a ranking, or approvals."""

    model_config = ConfigDict(extra="forbid")

    choice: str = Field("", description="The option voted for, word for word")
    ranking: list[str] = Field(default_factory=list, description="The options, best first, each once")
    approved: list[str] = Field(default_factory=list, description="The options that are good enough")
    abstain: bool = Field(False, description="Whether to leave the decision to the others")
    confidence: float | None = Field(None, ge=0, le=1, description="How sure the vote is, 0 to 1")
    argument: str = Field("", description="Why, in one sentence; shown to the others without a name")


@dataclass(frozen=True, slots=True)
class Box:
    """The votes of one epoch, by voter. Who may vote is frozen when it is opened; `refused` says what was not taken."""

    electorate: tuple[str, ...]
    epoch: int = 1
    votes: Mapping[str, Vote] = field(default_factory=dict)
    refused: tuple[str, ...] = ()


def cast(box: Box, vote: Vote, *, epoch: int) -> Box:
    """The box with one more vote in it; a stranger's, a second one, or one of another epoch is refused by name."""
    voter = str(vote["voter"])
    if voter not in box.electorate:
        why = "may not vote"
    elif epoch != box.epoch:
        why = f"voted in epoch {epoch}, and this is epoch {box.epoch}"
    elif voter in box.votes:
        why = "voted before"
    else:
        return replace(box, votes={**box.votes, voter: vote})
    return replace(box, refused=(*box.refused, f"{voter} {why}"))


def alike(text: str) -> str:
    """What makes two choices the same: all but case, spaces and a closing mark."""
    return " ".join(text.casefold().split()).rstrip(".!")


def read(
    said: Mapping[str, Any], reads: Reads, options: Sequence[str], key: Key | None = None
) -> tuple[dict[str, Any], str]:
    """A vote out of a voter's output (a Ballot or a Text, as data), and why it is spoiled; empty when it is sound.

    A text votes for the option that it is, else for the only one that it names; without options, for
    itself. `key` says which choices are the same.
    """
    vote: dict[str, Any] = {"abstain": False, "choice": "", "ranking": [], "approved": []}
    vote["confidence"] = said.get("confidence")
    text = said.get("text")
    if said.get("abstain") or (text is not None and alike(str(text)) == ABSTAIN):
        return vote | {"abstain": True}, ""

    def same(word: str) -> str:
        try:
            return (key or alike)(word)
        except Exception:  # a text that a caller's function finds no key in is no vote
            return ""

    known = {same(o): o for o in options}

    def option(word: str) -> str:
        return known.get(same(word), "") if options else same(word)

    if reads == "choice":
        words = str(said.get("choice", "") if text is None else text)
        chosen = option(words)
        if not chosen and text is not None and key is None:
            chosen = _named(words, options)
        return vote | {"choice": chosen}, "" if chosen else _no_choice(words, options)
    words_given = [str(w) for w in said.get(reads) or []]
    listed = [option(w) for w in words_given]
    vote[reads] = listed
    return vote, _misfit(words_given, listed)


def _misfit(words: list[str], listed: list[str]) -> str:
    """What is wrong with a list of options."""
    if not listed:
        return "it names no option"
    if unknown := [w for w, o in zip(words, listed, strict=True) if not o]:
        return f"{unknown[0]!r} is no option"
    return "it names an option twice" if len(set(listed)) < len(listed) else ""


def _no_choice(words: str, options: Sequence[str]) -> str:
    if not words.strip():
        return "it chooses nothing"
    return f"{words[:80]!r} is none of {', '.join(map(repr, options))}" if options else f"{words[:80]!r} says nothing"


def _named(text: str, options: Sequence[str]) -> str:
    """The only option whose words stand in a text."""
    found = [o for o in options if re.search(rf"(?<!\w){re.escape(alike(o))}(?!\w)", alike(text))]
    return found[0] if len(found) == 1 else ""
