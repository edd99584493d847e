"""The two ledgers of a magentic team, what is remembered of its work, and what follows from it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import AnyMessage
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from state.transcript import Transcript
from state.turn import Result, Turn, steps_left

RESERVE = 6  # super-steps that another round and the end need
FORBID = ConfigDict(extra="forbid")


class Step(BaseModel):
    """One step of the plan: a hint, as who speaks next is decided round by round."""

    model_config = FORBID

    worker: str = Field(description="Who does it: one of the workers' names")
    task: str = Field(description="What is to be done")


class TaskLedger(BaseModel):
    """The outer loop's ledger: what is known, what is not, and the plan."""

    model_config = FORBID

    facts_given: list[str] = Field(default_factory=list, description="Facts that are given, or were found since")
    questions_to_look_up: list[str] = Field(default_factory=list, description="Facts to look up, and where")
    to_derive: list[str] = Field(default_factory=list, description="Facts to derive, by logic or by computing")
    guesses: list[str] = Field(default_factory=list, description="Educated guesses, from memory")
    plan: list[Step] = Field(description="The steps, in order")


class Judged(BaseModel):
    """Whether something holds."""

    model_config = FORBID

    reason: str
    holds: bool


class Loop(BaseModel):
    """Whether the same requests or answers come again and again."""

    model_config = FORBID

    reason: str
    repeats: bool


class Speaker(BaseModel):
    """Who speaks next."""

    model_config = FORBID

    reason: str
    speaker: str = Field(description="One of the workers' names")


class Order(BaseModel):
    """What the next speaker is asked."""

    model_config = FORBID

    reason: str
    instruction: str = Field(description="What they are to do or to answer, with all they need for it")


class ProgressLedger(BaseModel):
    """The inner loop's ledger, written anew each round; every word with its reason, which comes first."""

    model_config = FORBID

    satisfied: Judged = Field(description="Is the request fully satisfied?")
    in_loop: Loop = Field(description="Are we in a loop?")
    progress: Judged = Field(description="Is progress being made?")
    next_speaker: Speaker
    instruction: Order


class Standing(TypedDict):
    """Where the work stands. One channel: each that is there is copied at every step.

    `round` counts the rounds whose progress ledger is there, `asks` how often the ledger of this round was
    sent back, `fault` says why. `since` is the message of the talk with which the team's context begins.
    `lost` has, by agent, what its newest call did not bring. `plans` and `reviews` count the task ledgers
    and a person's words on them; the newest is in `feedback` until it is followed.
    """

    round: int
    stalls: int
    resets: int
    asks: int
    fault: str
    since: int
    lost: dict[str, str]
    plans: int
    reviews: int
    feedback: str
    approved: bool


class Shown(Result, total=False):
    """What a caller sees besides the answer: both ledgers as they are now, the standing, and the whole talk.

    Every ledger there was is in the thread's history.
    """

    ledger: dict[str, Any] | None
    progress: dict[str, Any] | None
    standing: dict[str, Any]
    talk: Transcript


class State(Turn, Shown, total=False):
    """One writer at a time."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most rounds in which a worker speaks, stalls before a new plan, and new plans."""

    rounds: int
    stalls: int
    resets: int


def standing(state: State) -> Standing:
    """Where the work stands; before the first plan, at its beginning."""
    first = Standing(
        round=0, stalls=0, resets=0, asks=0, fault="", since=0, lost={}, plans=0, reviews=0, feedback="", approved=False
    )
    return cast("Standing", state.get("standing")) or first


def next_move(state: State, bounds: Bounds) -> str:
    """What follows a progress ledger: `answer`, `plan` (anew), `progress` (once more), or a worker's name."""
    ledger, now = state.get("progress"), standing(state)
    if (ledger and ledger["satisfied"]["holds"]) or exhausted(state, bounds):
        return "answer"
    if now["stalls"] > bounds.stalls:
        return "plan"
    return "progress" if ledger is None or now["fault"] else str(ledger["next_speaker"]["speaker"])


def exhausted(state: State, bounds: Bounds) -> str:
    """The bound at which the work ends, in words; empty while there is none."""
    now = standing(state)
    if now["round"] > bounds.rounds:
        return f"not done after {bounds.rounds} round(s)"
    if now["stalls"] > bounds.stalls and now["resets"] >= bounds.resets:
        return f"stalled again after {bounds.resets} new plan(s)"
    return "not done when the steps ran out" if steps_left(state) < RESERVE else ""


def stalls_after(stalls: int, ledger: Mapping[str, Any], *, spoken: bool) -> int:
    """The counter after a round: up on a loop or no progress, down on progress; before anybody spoke, as it was."""
    if not spoken or ledger["satisfied"]["holds"]:
        return stalls
    moving = ledger["progress"]["holds"] and not ledger["in_loop"]["repeats"]
    return max(0, stalls - 1) if moving else stalls + 1


def unknown(ledger: Mapping[str, Any], team: Collection[str]) -> str:
    """What is wrong with the next speaker, with the names there are; empty when nothing is, or none is needed."""
    name = ledger["next_speaker"]["speaker"]
    if ledger["satisfied"]["holds"] or name in team:
        return ""
    return f"no worker is called {name!r}; name one of {', '.join(sorted(team))}"


def heard(talk: list[AnyMessage], since: int, window: int) -> list[AnyMessage]:
    """The newest exchanges since the team's context was reset: two messages each, an order and a word."""
    return talk[max(since, len(talk) - 2 * window) :]


def exchanges(talk: list[AnyMessage], longest: int | None = None) -> list[dict[str, str]]:
    """A talk for a prompt: what somebody was asked, and what they said, cut where it is too long."""
    return [
        {str(order.content): str(word.content)[:longest]} for order, word in zip(talk[::2], talk[1::2], strict=True)
    ]


def best_of(talk: list[AnyMessage]) -> tuple[dict[str, Any] | None, str]:
    """The newest word that brought something, as an answer, and whose it is: the best there is without a writer."""
    word = next((m for m in talk[::-1] if m.response_metadata.get("outcome", "failed") != "failed"), None)
    if word is None:
        return None, ""
    sources = word.response_metadata.get("citations") or []
    return {"text": word.text, "citations": sources, "confidence": None}, word.name or ""


def missing(lost: Mapping[str, str]) -> str:
    """What the team's agents did not bring, in words."""
    return "; ".join(lost[name] for name in sorted(lost))
