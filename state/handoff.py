"""Handing over: who may pass the conversation to whom, when that goes round in a circle, and who has it next."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import TypedDict

from state.agent import Text
from state.effect import Doubt
from state.errors import ContractError
from state.tool import Arguments, Tool, ToolContext
from state.transcript import Transcript
from state.turn import LASTING, Result, Turn, explain

PREFIX = "transfer_to_"
USER = "user"  # under this name an agent is shown what people said
REMEMBERED = 32  # steps of the way of the conversation, in which a circle is looked for
SPOKEN = re.compile(rf"{PREFIX}(\w+)\b[\s:,.-]*(.*)", re.DOTALL)

Control = Literal["stays", "return_to_previous", "return_to_triage"]
Words = list[dict[str, str]]
Filter = Callable[[Words], Words]
"""A pure function of what was said, as {"from", "text"}, to what the next agent is shown of it."""


class Transfer(BaseModel):
    """A conversation that is passed on: the output of an agent that always passes on."""

    model_config = ConfigDict(extra="forbid")

    to: str = Field(description="The name of the agent who should have the conversation now")
    reason: str = Field(min_length=1, description="Why this agent")
    open: str = Field("", description="What is still open")


class Said(Text):
    """The output of a graph or a function that may answer, or pass the conversation on instead."""

    text: str = Field("", description="The answer")
    transfer: Transfer | None = Field(None, description="To whom the conversation is passed on, instead of an answer")

    @model_validator(mode="after")
    def says_something(self) -> "Said":
        """Refuse what is neither."""
        if not self.text.strip() and self.transfer is None:
            raise ValueError("give a text, or a transfer")
        return self


class Handover(Arguments):
    """The arguments of a transfer tool: the tool's name says to whom."""

    reason: str = Field(min_length=1, description="Why this agent should have the conversation")
    open: str = Field("", description="What is still open, for whoever takes over")


class Shown(Result, total=False):
    """What a caller gets: `holder` has control of the next turn, `talk` is what agents said to each other."""

    holder: Annotated[str, LASTING]
    talk: Transcript


class Floor(TypedDict, total=False):
    """How the conversation went in this turn.

    `way` names who had control, newest last; `steps` counts the model turns, `stint` those since the last
    transfer, which is `case`. `refused` is what stood against the one that was asked for last, `closed`
    says why nobody may hand over any more, `flaw` what went wrong beside.
    """

    way: list[str]
    handoffs: int
    steps: int
    stint: int
    case: dict[str, Any]
    refused: str
    closed: str
    summary: str
    flaw: str


class State(Turn, Shown, total=False):
    """One writer at a time. `holder` lasts over turns, everything else belongs to one.

    `scratch` is what the agent in control and its tools said since the last transfer. What changes in
    every step stands in `floor`: each channel that is written costs.
    """

    floor: Floor
    scratch: Transcript
    decisions: dict[str, Any]
    doubts: dict[str, Doubt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The options of a handoff; `fallback` may be empty: then whoever has control must answer."""

    names: Sequence[str]
    start: str
    fallback: str = ""
    control: Control = "stays"
    max_handoffs: int = 10
    max_turns: int = 30
    cycles: int | None = 2
    choose: Filter | None = None

    def begins(self, holder: str | None) -> str:
        """Who has a new turn: the one who had control, as long as they are still there."""
        return holder if holder and holder in self.names else self.start


class Move(NamedTuple):
    """What the transfers of one batch of calls come to: one of them, those beside it, and what is wrong with others.

    `beside` and `faults` are by the place of the call in its batch.
    """

    transfer: Transfer | None
    beside: dict[int, str]
    faults: dict[int, str]


class Next(NamedTuple):
    """Who has the conversation next. Where that is not who was meant, `why` says what stood against it."""

    holder: str
    why: str = ""


def allowed(names: Sequence[str], hands_to: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...]]:
    """To whom each may hand over, in the order given; everybody to everybody, by default.

    Raises ContractError for names that are nobody's, and for what has no order.
    """
    if hands_to is None:
        return {name: tuple(n for n in names if n != name) for name in names}
    for name, targets in hands_to.items():
        if isinstance(targets, str) or not isinstance(targets, Sequence):
            raise ContractError(f"handoff: hands_to[{name!r}] must be a list, so that tools have one order everywhere")
        for unknown in {name, *targets} - set(names):
            raise ContractError(f"handoff: `hands_to` names {unknown!r}, which is no agent; it is one of {list(names)}")
        if name in targets:
            raise ContractError(f"handoff: {name!r} cannot hand over to itself; take it out of hands_to[{name!r}]")
    return {name: tuple(dict.fromkeys(hands_to.get(name, ()))) for name in names}


def transfer_tools(targets: Mapping[str, str]) -> tuple[Tool, ...]:
    """One transfer tool for each target and what it does; the pattern itself carries them out, as data."""

    async def run(given: Handover, context: ToolContext) -> str:
        return "passed on"

    return tuple(
        Tool(name=PREFIX + to, description=f"Hand the conversation over to {to}: {does}", args=Handover, run=run)
        for to, does in targets.items()
    )


def resolved(calls: Sequence[Mapping[str, Any]], targets: Collection[str]) -> Move:
    """Of several transfers at once the first that is allowed counts."""
    transfer: Transfer | None = None
    beside, faults = {}, {}
    for n, call in enumerate(calls):
        if not is_transfer(call):
            continue
        to = call["name"].removeprefix(PREFIX)
        if fault := refusal(to, targets):
            faults[n] = fault
            continue
        try:
            given = Handover.model_validate(call["args"])
        except ValidationError as error:
            faults[n] = f"the arguments of {call['name']} do not fit: {explain(error)}"
            continue
        if transfer is None:
            transfer = Transfer(to=to, reason=given.reason, open=given.open)
        elif to != transfer.to:
            beside[n] = to
    return Move(transfer, beside, faults)


def is_transfer(call: Mapping[str, Any]) -> bool:
    """Whether a tool call hands the conversation over."""
    return str(call["name"]).startswith(PREFIX)


def stated(transfer: Transfer | None, targets: Collection[str]) -> Move:
    """The transfer in an output, likewise."""
    if transfer is None:
        return Move(None, {}, {})
    fault = refusal(transfer.to, targets)
    return Move(None, {}, {0: fault}) if fault else Move(transfer, {}, {})


def refusal(to: str, targets: Collection[str]) -> str:
    """Why a transfer cannot be, in words that can be acted on; empty when it can."""
    if to in targets:
        return ""
    instead = f"you may hand over to {', '.join(targets)}, or answer" if targets else "answer yourself"
    return f"you cannot hand over to {to}: {instead}"


def spoken(text: str) -> Transfer | None:
    """A transfer as a person writes it: `transfer_to_<name>`, and why."""
    found = SPOKEN.fullmatch(text.strip())
    return Transfer(to=found[1], reason=found[2].strip() or "no reason given") if found else None


def follows(way: Sequence[str], to: str, *, handoffs: int, rules: Rules) -> Next:
    """Who has the conversation after a transfer: who was meant, or at a bound the fallback."""
    ahead = [*way, to]
    if rules.cycles is not None and (ring := circle(ahead, rules.cycles)):
        return Next(rules.fallback or way[-1], f"handed round in a circle: {' -> '.join(ring)}")
    if handoffs >= rules.max_handoffs:
        return Next(rules.fallback or way[-1], f"handed over {handoffs} time(s) without an answer")
    return Next(to)


def circle(way: Sequence[str], times: int) -> list[str]:
    """The shortest round that the way ends with `times` times in a row; nothing when there is none."""
    for length in range(2, len(way) // times + 1):
        ring = way[-length:]
        if all(way[len(way) - (n + 1) * length :][:length] == ring for n in range(times)):
            return list(ring)
    return []


def keeps(control: Control, way: Sequence[str], start: str) -> str:
    """Who has control of the next turn, after the last of the way answered."""
    if control == "return_to_triage":
        return start
    return way[-2] if control == "return_to_previous" and len(way) > 1 else way[-1]


def chosen(words: Words, choose: Filter) -> Words:
    """What a filter leaves of the talk; what the user said and it did not keep comes back, before all else."""
    kept = choose([dict(w) for w in words])
    return [*(w for w in words if w["from"] == USER and w not in kept), *kept]
