"""When a conversation ends: conditions that compose with `|` and `&`.

A condition takes in one turn after the other, and keeps what it must remember as plain data, so that a
turn costs the same however long the conversation is. One that was met stays met: `a | b` ends with the
first of them, `a & b` once both were met, at whatever turns. Nothing here reads a clock or changes
anything: what a condition knows of time, tokens and a stop from outside, it is told.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AnyMessage

from state.errors import ContractError
from state.record import digest

Kind = Literal["goal", "bound", "stop"]
Memory = Any  # plain data; None before the first turn
SHOWN = 80  # characters of what was said, in words that say why it ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation after a turn, as conditions and selectors see it.

    `speaker` had the last turn, and said `text`; None when nothing came of the turn. `tokens` and
    `seconds` are those since its beginning; `stop` is a word from outside that it should end.
    `candidates` are those of the `team` who may speak next.
    """

    team: tuple[str, ...] = ()
    turns: int = 0
    speaker: str = ""
    text: str | None = None
    messages: int = 0
    tokens: int = 0
    seconds: float = 0.0
    stop: str = ""
    talk: Sequence[AnyMessage] = ()
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a conversation ends. It met its goal, was stopped from outside, or only reached a bound."""

    whys: tuple[str, ...]
    kind: Kind

    @property
    def why(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.whys)


class Condition(ABC):
    """What ends a conversation. Conditions, and plain functions of a Conversation, compose with `|` and `&`."""

    __slots__ = ()

    @abstractmethod
    def take(self, memory: Memory, now: Conversation) -> Memory:
        """What is remembered after one more turn."""

    @abstractmethod
    def ending(self, memory: Memory) -> Ending | None:
        """Why it is over; None while it goes on."""

    @property
    @abstractmethod
    def kinds(self) -> frozenset[Kind]:
        """The kinds of all conditions in it."""

    def __or__(self, other: "Condition | Function") -> "Condition":
        return _joined("any", self, condition(other))

    def __ror__(self, other: "Function") -> "Condition":
        return _joined("any", condition(other), self)

    def __and__(self, other: "Condition | Function") -> "Condition":
        return _joined("all", self, condition(other))

    def __rand__(self, other: "Function") -> "Condition":
        return _joined("all", condition(other), self)


Function = Callable[[Conversation], bool | str]


@dataclass(frozen=True, slots=True)
class Leaf(Condition):
    """One rule: of its own memory and a turn, `step` makes its next memory, and why it is met (else nothing)."""

    name: str
    step: Callable[[Any, Conversation], tuple[Any, str]]
    kind: Kind = "goal"

    def take(self, memory: Memory, now: Conversation) -> Memory:
        """See `Condition.take`."""
        if memory is not None and memory["why"]:
            return memory
        own, why = self.step(None if memory is None else memory["own"], now)
        return {"own": own, "why": why}

    def ending(self, memory: Memory) -> Ending | None:
        """See `Condition.ending`."""
        return Ending((memory["why"],), self.kind) if memory is not None and memory["why"] else None

    @property
    def kinds(self) -> frozenset[Kind]:
        """See `Condition.kinds`."""
        return frozenset({self.kind})


@dataclass(frozen=True, slots=True)
class Joined(Condition):
    """Any of some conditions, or all of them."""

    how: Literal["any", "all"]
    parts: tuple[Condition, ...]

    def take(self, memory: Memory, now: Conversation) -> Memory:
        """See `Condition.take`."""
        before = memory or [None] * len(self.parts)
        return [part.take(own, now) for part, own in zip(self.parts, before, strict=True)]

    def ending(self, memory: Memory) -> Ending | None:
        """See `Condition.ending`."""
        if memory is None:
            return None
        found = [part.ending(own) for part, own in zip(self.parts, memory, strict=True)]
        met = [end for end in found if end is not None]
        if not (met if self.how == "any" else len(met) == len(found)):
            return None
        kinds: dict[Kind, None] = dict.fromkeys(end.kind for end in met)
        kind: Kind = "goal" if "goal" in kinds else "stop" if "stop" in kinds else "bound"
        return Ending(tuple(dict.fromkeys(why for end in met for why in end.whys)), kind)

    @property
    def kinds(self) -> frozenset[Kind]:
        """See `Condition.kinds`."""
        return frozenset().union(*(part.kinds for part in self.parts))


def condition(given: Condition | Function) -> Condition:
    """A condition as it is, or a function as one. Raises ContractError for anything else."""
    if isinstance(given, Condition):
        return given
    if not callable(given):
        raise ContractError(f"{given!r} ends no conversation: give a condition, or a function of the Conversation")
    return when(given)


def max_turns(most: int) -> Condition:
    """So many turns were taken, those that brought nothing included."""
    _positive("max_turns", most)
    return _bound(f"max_turns({most})", lambda now: now.turns >= most, lambda now: f"{now.turns} turn(s) were taken")


def max_messages(most: int) -> Condition:
    """So many messages stand in the conversation."""
    _positive("max_messages", most)
    return _bound(
        f"max_messages({most})",
        lambda now: now.messages >= most,
        lambda now: f"{now.messages} message(s) stand in the conversation",
    )


def token_budget(most: int) -> Condition:
    """The conversation used so many tokens, in and out, those of its manager included."""
    _positive("token_budget", most)
    return _bound(
        f"token_budget({most})",
        lambda now: now.tokens >= most,
        lambda now: f"{now.tokens:,} tokens were used, {most:,} were given",
    )


def wall_time(seconds: float) -> Condition:
    """So many seconds have passed since the conversation began; seen after a turn, never within one."""
    _positive("wall_time", seconds)
    return _bound(
        f"wall_time({seconds:g})",
        lambda now: now.seconds >= seconds,
        lambda now: f"{now.seconds:.0f} s have passed, {seconds:g} were given",
    )


def text_mention(text: str) -> Condition:
    """Somebody said these words, as whole words, in upper and lower case as they stand here."""
    return _said("text_mention", text, by=None)


def said_by(agent: str, text: str = "") -> Condition:
    """This agent said these words, as `text_mention` reads them; or anything, without words."""
    return _said("said_by", text, by=agent)


def agreement(least: int | None = None, *, same: Callable[[str], str] | None = None) -> Condition:
    """The newest words of all of the team, or of the `least` of them, are the same.

    `same` makes of a text what is compared: by default the text without regard to case, spaces and the
    punctuation around it.
    """
    if least is not None and least < 2:
        raise ContractError(f"agreement: one alone cannot agree; `least` must be at least 2, not {least}")
    alike = same or plain

    def step(own: Any, now: Conversation) -> tuple[Any, str]:
        if now.text is None:
            return own or {}, ""
        newest = {**(own or {}), now.speaker: digest(alike(now.text))}
        agreed = [who for who in now.team if newest.get(who) == newest[now.speaker]]
        enough = len(agreed) >= (least or len(now.team))
        return newest, f"{', '.join(agreed)} agree: {_short(now.text)}" if enough else ""

    return Leaf("agreement", step)


def external() -> Condition:
    """Somebody outside said that it should stop, as `runtime.stop.stop` does."""
    return Leaf(
        "external", lambda own, now: (None, f"stopped from outside: {now.stop}" if now.stop else ""), kind="stop"
    )


def when(function: Function, *, kind: Kind = "goal") -> Condition:
    """A pure function of the Conversation says so: True, or in words why."""
    name = getattr(function, "__name__", type(function).__name__)

    def step(own: Any, now: Conversation) -> tuple[Any, str]:
        said = function(now)
        return None, said if isinstance(said, str) else f"{name} holds" if said else ""

    return Leaf(name, step, kind)


def plain(text: str) -> str:
    """A text without regard to case, spaces and the punctuation around it."""
    return re.sub(r"^\W+|\W+$", "", " ".join(text.casefold().split()))


def _said(what: str, text: str, *, by: str | None) -> Condition:
    if by is None and not text.strip():
        raise ContractError(f"{what}: the text is empty; give the words that end the conversation")
    found = re.compile(rf"(?<!\w){re.escape(text.strip())}(?!\w)" if text.strip() else "")

    def step(own: Any, now: Conversation) -> tuple[Any, str]:
        heard = now.text is not None and by in (None, now.speaker) and found.search(now.text)
        return None, f"{now.speaker} said {_short(text or now.text or '')}" if heard else ""

    return Leaf(f"{what}({', '.join(repr(part) for part in (by, text) if part)})", step)


def _bound(name: str, met: Callable[[Conversation], bool], words: Callable[[Conversation], str]) -> Condition:
    return Leaf(name, lambda own, now: (None, words(now) if met(now) else ""), kind="bound")


def _joined(how: Literal["any", "all"], *given: Condition) -> Condition:
    """Chains of one kind are one level, so that it is the same however they are bracketed."""
    nested = [part.parts if isinstance(part, Joined) and part.how == how else (part,) for part in given]
    return Joined(how, tuple(part for parts in nested for part in parts))


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ContractError(f"{name}: {value} is no bound; give a number above 0")


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")
