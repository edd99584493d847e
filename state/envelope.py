"""Messages between agents: one typed envelope for everything that travels through a mailbox.

Pure: who sends says the time, and who takes an envelope says the time again. An envelope that is not
signed as it should be, that comes too late, or whose payload does not fit its schema, never reaches
the agent: it is answered by a structured error. As plain data (`plain`) it stands in channels.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

MessageKind = Literal[
    "task", "status", "result", "error", "proposal", "bid", "award", "reject", "vote", "event", "handoff"
]
KINDS: tuple[MessageKind, ...] = get_args(MessageKind)


class Envelope(BaseModel):
    """One message. Times are seconds since the epoch; `sequence` counts from 1 per sender and conversation.

    `causation` is the id of the message that this one follows from, `hops` how many came before it in
    that chain. An empty `schema_name` is the schema of the kind.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: str = Field(min_length=1)
    conversation: str
    sender: str = Field(min_length=1)
    recipient: str = Field(min_length=1)
    kind: MessageKind
    payload: dict[str, JsonValue] = Field(default_factory=dict)
    schema_name: str = ""
    schema_version: int = Field(1, ge=1)
    sequence: int = Field(1, ge=1)
    causation: str = ""
    sent_at: float = 0.0
    deadline: float | None = None
    hops: int = Field(0, ge=0)
    signature: str = ""

    @property
    def schema_key(self) -> tuple[str, int]:
        """Under what its schema is registered."""
        return self.schema_name or self.kind, self.schema_version

    @property
    def plain(self) -> dict[str, Any]:
        """As a channel holds it."""
        return self.model_dump(mode="json")


class Payload(BaseModel):
    """What every payload of ours is."""

    model_config = ConfigDict(extra="forbid")


class TaskPayload(Payload):
    """What to do, under which constraints, what success looks like, and what to do when it cannot be done."""

    what: str = Field(min_length=1, description="What is to be done")
    constraints: list[str] = Field(description="What must hold on the way; may be empty, but must be said")
    success: list[str] = Field(description="How to tell that it is done")
    otherwise: str = Field(description="What to do when it cannot be done")
    context: dict[str, JsonValue] = Field(default_factory=dict, description="What is already known, by name")


class StatusPayload(Payload):
    """What is done, what blocks, and what was consumed, by unit."""

    done: list[str]
    blocked: list[str]
    consumed: dict[str, float]


class Fault(Payload):
    """Why an envelope was not taken: what is wrong, where, what was expected, and whether to send it again."""

    reason: Literal["schema", "signature", "temporal", "delivery"]
    what: str
    where: str
    expected: str
    retryable: bool


Schemas = Mapping[tuple[str, int], type[BaseModel]]
"""Payloads by the name of a schema (or a kind) and its version."""

SCHEMAS: Schemas = {("task", 1): TaskPayload, ("status", 1): StatusPayload, ("error", 1): Fault}


def message_id(conversation: str, sender: str, sequence: int) -> str:
    """The id of a message, the same in every process: a sender numbers its messages of a conversation."""
    text = "\x1f".join((conversation, sender, str(sequence)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def child(
    parent: Envelope,
    *,
    sender: str,
    recipient: str,
    kind: MessageKind,
    sequence: int,
    sent_at: float,
    payload: Mapping[str, JsonValue] | None = None,
    schema_name: str = "",
    schema_version: int = 1,
    deadline: float | None = None,
) -> Envelope:
    """A message that follows from another: one hop further, and due no later than it."""
    return Envelope(
        id=message_id(parent.conversation, sender, sequence),
        conversation=parent.conversation,
        sender=sender,
        recipient=recipient,
        kind=kind,
        payload=dict(payload or {}),
        schema_name=schema_name,
        schema_version=schema_version,
        sequence=sequence,
        causation=parent.id,
        sent_at=sent_at,
        deadline=due(deadline, parent.deadline),
        hops=parent.hops + 1,
    )


def error(parent: Envelope, fault: Fault, *, sender: str, sequence: int, sent_at: float) -> Envelope:
    """The answer to an envelope that was not taken. It has no deadline: it must arrive when all others are over."""
    made = child(
        parent,
        sender=sender,
        recipient=parent.sender,
        kind="error",
        sequence=sequence,
        sent_at=sent_at,
        payload=fault.model_dump(mode="json"),
    )
    return made.model_copy(update={"deadline": None})


def due(own: float | None, parents: float | None) -> float | None:
    """The earlier of two deadlines; None is no deadline."""
    both = [d for d in (own, parents) if d is not None]
    return min(both) if both else None


def take(
    raw: Mapping[str, Any] | Envelope,
    *,
    now: float,
    schemas: Schemas = SCHEMAS,
    keys: Mapping[str, bytes] | None = None,
) -> Envelope | Fault:
    """An envelope as it comes out of a mailbox, or why it must not reach its agent.

    With `keys`, by sender, every envelope must be signed. A payload without a schema under its name and
    version is refused as one that does not fit: nobody could say what it means.
    """
    try:
        taken = raw if isinstance(raw, Envelope) else Envelope.model_validate(raw)
    except ValidationError as wrong:
        return _misfit(wrong, "Envelope")
    return forged(taken, keys) or late(taken, now) or unfit(taken, schemas) or taken


def forged(envelope: Envelope, keys: Mapping[str, bytes] | None) -> Fault | None:
    """What is wrong with its signature; None where it is right, or where nobody signs."""
    if keys is None:
        return None
    key = keys.get(envelope.sender)
    if key is not None and hmac.compare_digest(envelope.signature.encode("utf-8", "replace"), _mac(envelope, key)):
        return None
    what = f"this was not signed as it is by {envelope.sender}" if key else f"{envelope.sender} has no key"
    return Fault(
        reason="signature", what=what, where="signature", expected="an HMAC-SHA256 over all fields", retryable=False
    )


def late(envelope: Envelope, now: float) -> Fault | None:
    """A temporal error when its deadline is past: to be asked when it is taken, and again before an effect."""
    if envelope.deadline is None or now <= envelope.deadline:
        return None
    return Fault(
        reason="temporal",
        what=f"{now - envelope.deadline:.3f} s past its deadline",
        where="deadline",
        expected=f"no later than {envelope.deadline:.3f}",
        retryable=False,
    )


def unfit(envelope: Envelope, schemas: Schemas) -> Fault | None:
    """What in its payload does not fit the schema that it names."""
    name, version = envelope.schema_key
    schema = schemas.get((name, version))
    if schema is None:
        known = ", ".join(f"{n} {v}" for n, v in sorted(schemas)) or "none"
        what = f"nobody knows the schema {name} version {version}"
        return Fault(reason="schema", what=what, where="schema_name", expected=f"one of: {known}", retryable=False)
    try:
        schema.model_validate(envelope.payload)
    except ValidationError as wrong:
        return _misfit(wrong, f"{name} version {version}")
    return None


def sign(envelope: Envelope, key: bytes) -> Envelope:
    """The envelope with its sender's signature over all other fields."""
    return envelope.model_copy(update={"signature": _mac(envelope, key).decode()})


def _mac(envelope: Envelope, key: bytes) -> bytes:
    said = json.dumps(envelope.model_dump(exclude={"signature"}), sort_keys=True, separators=(",", ":"))
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest().encode()


def _misfit(wrong: ValidationError, expected: str) -> Fault:
    """Retryable: the sender may send it again, mended."""
    errors = wrong.errors(include_url=False)
    return Fault(
        reason="schema",
        what="; ".join(e["msg"] for e in errors),
        where="; ".join(".".join(map(str, e["loc"])) or "payload" for e in errors),
        expected=expected,
        retryable=True,
    )
