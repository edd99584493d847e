"""Who speaks next in a conversation: the pure rules of a group chat's floor."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from state.condition import Condition, Conversation

WINDOW = 20  # messages that an agent sees, unless told otherwise
NAMED = 200  # characters kept of what was said instead of a name

Selector = Callable[[Conversation], str]


class Selection(BaseModel):
    """A manager's word on who speaks next."""

    model_config = ConfigDict(extra="forbid")

    speaker: str = Field(description="The name of the participant who speaks next")
    reason: str = Field("", description="Why, in one sentence")


def round_robin(now: Conversation) -> str:
    """Everybody in turn, in the order of the team."""
    return following(now.team, now.speaker, now.candidates)


def following(team: Sequence[str], last: str, among: Sequence[str]) -> str:
    """The first of some who comes after the last speaker, in the order of the team; empty where there is none."""
    at = team.index(last) + 1 if last in team else 0
    return next((name for name in (*team[at:], *team[:at]) if name in among), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one chat: who takes part, who chooses (None: a manager does), and what ends it."""

    team: tuple[str, ...]
    choose: Selector | None = round_robin
    until: Condition | None = None
    max_turns: int = 12
    max_reasks: int = 1
    allow_repeats: bool = False
    transitions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    windows: Mapping[str, int] = field(default_factory=dict)
    summarizes: bool = False
    answers: bool = False

    @property
    def widest(self) -> int:
        """The window of the participant who sees most."""
        return max(self.windows.get(name, WINDOW) for name in self.team)

    @property
    def listens(self) -> bool:
        """Whether a word from outside can end the chat."""
        return self.until is not None and "stop" in self.until.kinds


def candidates(rules: Rules, last: str) -> tuple[str, ...]:
    """Who may speak after somebody; at the beginning, everybody."""
    allowed = rules.transitions.get(last, rules.team)
    return tuple(name for name in rules.team if name in allowed and (rules.allow_repeats or name != last))


def ways(rules: Rules, last: str) -> tuple[str, ...]:
    """Who can come after somebody where no manager chooses: the edges of the drawing."""
    able = candidates(rules, last)
    return (following(rules.team, last, able),) if able and rules.choose is round_robin else able


def unheard(rules: Rules) -> list[str]:
    """Who would never speak if everybody spoke in turn."""
    heard, last = [""], ""
    while (after := ways(rules, last)) and after[0] not in heard:
        last = after[0]
        heard.append(last)
    return [name for name in rules.team if name not in heard]


def read_name(said: str, able: Sequence[str], team: Sequence[str]) -> tuple[str, str]:
    """Who is meant: a name alone, or the only participant in a sentence; else nobody, and what is wrong."""
    bare = re.sub(r"^\W+|\W+$", "", said).casefold()
    words = {bare} if bare in team else set(re.findall(r"\w+", said.casefold()))
    meant = [name for name in team if name in words]
    if len(meant) == 1 and meant[0] in able:
        return meant[0], ""
    what = "names no participant" if not meant else "names several" if len(meant) > 1 else "may not speak now"
    return "", f"{said[:NAMED]!r} {what}"


def chosen(rules: Rules, now: Conversation) -> tuple[str, str]:
    """Who speaks next by the rules' function, or in turn where its word is of no use; and what was wrong with it."""
    assert rules.choose is not None
    try:
        name, fault = read_name(str(rules.choose(now)), now.candidates, now.team)
    except Exception as error:  # a function of the user's, on a conversation that it did not foresee
        name, fault = "", f"{type(error).__name__}: {error}"[:NAMED]
    return name or round_robin(now), fault
