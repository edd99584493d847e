"""Mailboxes: what arrives out of order, twice or not at all is handed out in order, once, or told as missing.

A mailbox is plain data and stands in a channel; every function returns another one. Order is per
sender and conversation, by the sequence numbers of the envelopes; an id is delivered once. All that a
sender says in a conversation goes to one mailbox: who writes to several has a conversation with each.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from typing_extensions import TypedDict

from state.log import Handlers

Letter = Mapping[str, Any]
"""An envelope as plain data (`Envelope.plain`)."""

Verdict = Literal["delivered", "held", "duplicate", "regression"]
"""What became of an envelope: a regression is a number that was already delivered under another id."""


class Mailbox(TypedDict):
    """`ready` is in order and not yet taken; `held`, by stream and number, waits for what is missing before it.

    `next` is the number that each stream goes on with, `seen` the ids that were delivered or are held.
    """

    ready: list[dict[str, Any]]
    held: dict[str, dict[str, dict[str, Any]]]
    next: dict[str, int]
    seen: dict[str, int]


class Gap(NamedTuple):
    """Numbers of a stream that did not arrive although later ones did."""

    sender: str
    conversation: str
    missing: list[int]


def empty() -> Mailbox:
    """A mailbox that nothing has come to."""
    return {"ready": [], "held": {}, "next": {}, "seen": {}}


def deliver(box: Mailbox, letters: Iterable[Letter]) -> tuple[Mailbox, list[Verdict]]:
    """Put envelopes in, in the order in which they came; what each one turned out to be."""
    ready, held = [*box["ready"]], {stream: dict(waiting) for stream, waiting in box["held"].items()}
    expected, seen = dict(box["next"]), dict(box["seen"])
    verdicts: list[Verdict] = []
    for letter in letters:
        stream, number = stream_of(letter), int(letter["sequence"])
        verdicts.append(_verdict(letter, number, expected.get(stream, 1), held.get(stream, {}), seen))
        if verdicts[-1] not in ("delivered", "held"):
            continue
        seen[letter["id"]] = number
        waiting = held.setdefault(stream, {})
        waiting[str(number)] = dict(letter)
        while (found := waiting.pop(str(expected.get(stream, 1)), None)) is not None:
            ready.append(found)
            expected[stream] = expected.get(stream, 1) + 1
        if not waiting:
            del held[stream]
    return {"ready": ready, "held": held, "next": expected, "seen": seen}, verdicts


def take(box: Mailbox, most: int | None = None) -> tuple[Mailbox, list[dict[str, Any]]]:
    """Take out what is ready, the oldest first; at most so many."""
    some = len(box["ready"]) if most is None else most
    return {**box, "ready": box["ready"][some:]}, box["ready"][:some]


def gaps(box: Mailbox) -> list[Gap]:
    """What has to be sent again before the rest can be handed out, by sender and conversation."""
    out = []
    for stream in sorted(box["held"]):
        last, first = max(map(int, box["held"][stream])), box["next"].get(stream, 1)
        sender, _, conversation = stream.partition("\x1f")
        missing = [n for n in range(first, last) if str(n) not in box["held"][stream]]
        out.append(Gap(sender, conversation, missing))
    return out


def stream_of(letter: Letter) -> str:
    """Sender and conversation, within which order is kept."""
    return f"{letter['sender']}\x1f{letter['conversation']}"


def _verdict(
    letter: Letter, number: int, expected: int, waiting: Mapping[str, Any], seen: Mapping[str, int]
) -> Verdict:
    if letter["id"] in seen:
        return "duplicate"
    if number < expected or str(number) in waiting:
        return "regression"
    return "delivered" if number == expected else "held"


HANDLERS: Handlers = {
    "arrived": lambda box, event: dict(deliver(box, [event["letter"]])[0]),  # type: ignore[arg-type]  # a view is plain
    "taken": lambda box, event: dict(take(box, event["most"])[0]),  # type: ignore[arg-type]  # as above
}
"""A mailbox is the view of its own log."""
