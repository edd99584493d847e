"""What peers say to each other, what a mesh remembers, and when a conversation goes round in circles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model
from typing_extensions import TypedDict

from state.envelope import SCHEMAS, MessageKind, Schemas
from state.mailbox import Mailbox
from state.reducers import merge_keys
from state.transcript import Transcript
from state.turn import Result, Turn

USER = "user"  # who asks the entry peer
HOUSE = "mesh"  # who tells a peer what the mesh itself has to say

Speech = Literal["task", "status", "result", "proposal", "vote", "event", "handoff"]
"""What peers tell each other; what belongs to a market stays there."""

ASKS: tuple[MessageKind, ...] = ("task", "proposal", "handoff")
"""Kinds that an answer goes back to; who waits for an answer does not get one by being asked."""


class Message(BaseModel):
    """What one peer sends another."""

    model_config = ConfigDict(extra="forbid")

    to: str = Field(description="The peer it is for: one that you know, or one that wrote to you")
    kind: Speech = Field("task", description="task: it shall do something; status, result, event: it shall know")
    subject: str = Field("", description="In one line: what is to be done, or what it is about")
    text: str = Field("", description="All that the peer needs to know; it sees nothing else of yours")
    data: dict[str, JsonValue] = Field(default_factory=dict, description="Data that goes with it, by name")


class Said(BaseModel):
    """What a peer says when it has read its mailbox."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Message] = Field(default_factory=list, description="Messages to other peers")
    waits_for: list[str] = Field(
        default_factory=list, description="Peers without whose answer you cannot go on: you are not called before"
    )
    wait_for_any: bool = Field(False, description="Whether the answer of any one of them is enough")
    answer: str = Field("", description="What you answer to whoever asked you; as far as you know it")
    citations: list[str] = Field(default_factory=list, description="Sources of the answer, as file#section")
    done: bool = Field(False, description="Whether the answer is complete, so that it can go to whoever asked you")

    @property
    def final(self) -> bool:
        """Whether the answer goes to whoever asked: it is said to be complete, or nothing else can come of it."""
        return bool(self.answer) and (self.done or not (self.messages or self.waits_for))


class Note(BaseModel):
    """The payload of the kinds in NOTES."""

    model_config = ConfigDict(extra="forbid")

    subject: str = ""
    text: str = ""
    citations: list[str] = Field(default_factory=list)
    data: dict[str, JsonValue] = Field(default_factory=dict)


NOTES: tuple[MessageKind, ...] = ("result", "proposal", "vote", "event", "handoff")


class Incident(TypedDict):
    """Something that the mesh had to deal with: `cycle` for a loop or a deadlock, `who` for who is told."""

    kind: str
    who: str
    cycle: list[str]
    what: str


class Shown(Result, total=False):
    """What a caller also sees: every message, and what went wrong between the peers."""

    talk: Transcript
    incidents: list[Incident]


class State(Turn, Shown, total=False):
    """`said` is written by all peers of a round at once, each under its own name; all else by the delivery alone.

    `handed` is the mail that the peers of this round have, `jobs` what each was asked and what it learnt
    for it, `trails` the way of each message that is under way, `open` what a person has to decide.
    """

    round: int
    said: Annotated[dict[str, Any], merge_keys]
    boxes: dict[str, Mailbox]
    handed: dict[str, list[dict[str, Any]]]
    jobs: dict[str, dict[str, Any]]
    words: dict[str, dict[str, Any]]
    trails: dict[str, list[list[str]]]
    counts: dict[str, int]
    sent: int
    waits: dict[str, Any]
    barred: dict[str, list[str]]
    flaws: list[str]
    open: list[Incident]
    decisions: list[dict[str, Any]]
    closed: bool


class View(TypedDict):
    """What a goal is judged on: the last word of each peer, and how far it has come."""

    words: dict[str, dict[str, Any]]
    round: int
    messages: int


Goal = Callable[[View], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """The options of a mesh: who there is, who knows whom, and its bounds."""

    peers: tuple[str, ...]
    knows: Mapping[str, Sequence[str]]
    entry: str
    max_hops: int = 12
    max_messages: int = 64
    max_laps: int = 3
    priority: Mapping[str, int] = field(default_factory=dict)
    ask: bool = False
    goal: Goal | None = None
    schemas: Schemas = field(default_factory=dict)
    keys: Mapping[str, bytes] | None = None


def schemas_of(data: Mapping[str, type[BaseModel]]) -> Schemas:
    """The schemas of a mesh: those of every envelope, and for some kinds what their `data` must be."""
    typed: Schemas = {
        (kind, 1): create_model(f"{kind.title()}Note", __base__=Note, data=(of, ...)) for kind, of in data.items()
    }
    return {**{(kind, 1): Note for kind in NOTES}, **SCHEMAS, **typed}


def between(turn: int, one: str, other: str) -> str:
    """The conversation of two peers in a turn: each mailbox then has every number of its senders."""
    return f"{turn}/{min(one, other)}/{max(one, other)}"


def everybody(peers: Sequence[str]) -> dict[str, list[str]]:
    """The topology in which all know all."""
    return {name: [other for other in peers if other != name] for name in peers}


def reachable(knows: Mapping[str, Sequence[str]], start: str) -> set[str]:
    """Whom news from a peer can reach."""
    have, new = {start}, [start]
    while new:
        new = [other for name in new for other in knows.get(name, ()) if other not in have]
        have.update(new)
    return have


def lap(trail: Sequence[Sequence[str]], laps: int) -> list[str]:
    """The peers of a feedback loop at the end of a message's way, from the first by name; empty when there is none.

    A way is steps (sender, recipient, what was said). It is a loop when its last two steps, a word and what
    followed from it, were there before, or when it has gone round the same peers `laps` times, whatever
    was said.
    """
    steps = [list(step) for step in trail]
    for at in range(len(steps) - 3, 0, -1):
        if steps[at - 1 : at + 1] == steps[-2:]:
            return _ring([sender for sender, *_ in steps[at:-1]])
    pairs = [step[:2] for step in steps]
    for size in range(2, len(pairs) // laps + 1):
        if pairs[-size * laps :] == pairs[-size:] * laps:
            return _ring([sender for sender, _ in pairs[-size:]])
    return []


def _ring(names: Sequence[str]) -> list[str]:
    first = names.index(min(names))
    return [*names[first:], *names[:first]]
