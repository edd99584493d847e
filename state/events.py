"""Publish and subscribe: what is published, who hears of it, and where a cascade ends. Pure, on plain data.

Everything published stands in one log, in one order. An event is delivered to each subscriber that it
matches once, through a mailbox, and never to the one who published it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from typing_extensions import TypedDict

from state.agent import Text
from state.envelope import Envelope, Fault, Schemas, message_id, take, unfit
from state.mailbox import Mailbox, deliver, empty, stream_of
from state.mailbox import take as taken
from state.reducers import merge_keys
from state.turn import Result, Turn

WORLD = "task"  # who publishes the first event


class Event(BaseModel):
    """What the events of this module are. A user's own may be any pydantic model: its name is the type."""

    model_config = ConfigDict(extra="forbid")


class TaskPublished(Event):
    """The first event of every turn: the task."""

    goal: str = Field(description="What is to be done")


class TaskCompleted(Event):
    """Somebody has done their part: what a Text becomes when it is published."""

    by: str = Field(description="Who did it")
    text: str = Field(description="What came of it")
    citations: list[str] = Field(default_factory=list, description="Sources, as file#section")
    confidence: float | None = Field(None, ge=0, le=1, description="How sure it is, 0 to 1")


class DataAvailable(Event):
    """Something can be read now."""

    name: str = Field(description="What it is called")
    data: JsonValue = Field(None, description="The data, or where they are")


class ErrorOccurred(Event):
    """A subscriber failed on an event, and nobody had dealt with that."""

    agent: str = Field(description="Who failed")
    event: str = Field(description="The type of the event at which it failed")
    message: str = Field(description="What went wrong")


class StateChanged(Event):
    """A value is another one now."""

    name: str = Field(description="What changed")
    before: JsonValue = None
    after: JsonValue = None


OWN: tuple[type[BaseModel], ...] = (TaskPublished, TaskCompleted, DataAvailable, ErrorOccurred, StateChanged)


class Publication(Event):
    """One event as an agent writes it down."""

    type: str = Field(description="The name of the event's type")
    data: dict[str, JsonValue] = Field(default_factory=dict, description="The event, by the fields of its type")


class Published(Event):
    """The output of an agent that publishes several events, or none."""

    events: list[Publication] = Field(default_factory=list, description="The events to publish, in order")


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which events one agent hears of: those of these types that the filter lets through."""

    agent: Any
    types: tuple[type[BaseModel], ...]
    where: Callable[[Any], bool] | None = None


def on(agent: Any, *types: type[BaseModel], where: Callable[[Any], bool] | None = None) -> Subscription:
    """Subscribe an agent (anything that `bind` takes) to events; `where` is a pure function of the event."""
    return Subscription(agent, types, where)


class Draft(NamedTuple):
    """An event that is to be published. `cause` is the number of the event that it follows from, 0 for none."""

    by: str
    type: str
    data: Mapping[str, Any]
    cause: int = 0


class Entry(TypedDict, total=False):
    """One published event: its number, who was told (with the ids of the messages), and what they made of it.

    `cut` says why nobody was told; `late` who could not be told in time; `flaws` whose reaction was not whole.
    """

    n: int
    type: str
    by: str
    data: dict[str, Any]
    cause: int
    depth: int
    to: dict[str, str]
    done: list[str]
    failed: dict[str, str]
    flaws: dict[str, str]
    late: dict[str, str]
    cut: str


class Shown(Result, total=False):
    """What a caller gets: `log` has every event of the turn, in the order of their publication."""

    log: list[Entry]


class State(Turn, Shown, total=False):
    """`reactions` is written by all subscribers at once, each under its visit.

    `boxes` are the mailboxes by subscriber, `due` what is handled now, `lost` what could not be published.
    """

    reactions: Annotated[dict[str, Any], merge_keys]
    boxes: dict[str, Mailbox]
    due: list[dict[str, Any]]
    lost: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who hears what, by subscriber in their order, and the bounds of a cascade."""

    subscribers: Mapping[str, Sequence[Subscription]]
    types: Mapping[str, type[BaseModel]]
    max_depth: int = 8
    max_events: int = 50
    at_once: int | None = None

    @property
    def schemas(self) -> Schemas:
        """The types, as envelopes name them."""
        return {(name, 1): model for name, model in self.types.items()}


class Wave(NamedTuple):
    """What publishing comes to: the log, the mailboxes, the messages that were sent, and what was not published."""

    log: list[Entry]
    boxes: dict[str, Mailbox]
    sent: list[Envelope]
    lost: list[str]


def publish(
    log: Sequence[Entry],
    boxes: Mapping[str, Mailbox],
    drafts: Sequence[Draft],
    rules: Rules,
    *,
    conversation: str,
    now: float,
    deadline: float | None = None,
) -> Wave:
    """Publish drafts in their order. What does not fit its type, or a filter that fails, is an error that occurred."""
    wave = Wave([*log], dict(boxes), [], [])
    queue = list(drafts)
    while queue:
        draft = queue.pop(0)
        if (fault := _misfit(draft, rules)) is not None:
            why = f"{draft.by} published no {draft.type}: {fault.what} ({fault.where})"
            queue = [*_failure(wave.log, draft.cause, draft.by, why), *queue]
            continue
        if len(wave.log) >= rules.max_events:
            wave.lost.append(f"{draft.type} of {draft.by}")
            continue
        queue += _enter(wave, draft, rules, conversation, now, deadline)
    return wave


def _enter(
    wave: Wave, draft: Draft, rules: Rules, conversation: str, now: float, deadline: float | None
) -> list[Draft]:
    """Write one event down and put it into the mailboxes of those who hear it; the errors of their filters."""
    cause = wave.log[draft.cause - 1] if draft.cause else None
    depth = cause["depth"] + 1 if cause else 0
    n = len(wave.log) + 1
    entry = Entry(n=n, type=draft.type, by=draft.by, data=dict(draft.data), cause=draft.cause, depth=depth, to={})
    wave.log.append(entry)
    if depth > rules.max_depth:
        entry["cut"] = f"{draft.type} of {draft.by} would be event {depth + 1} in a row"
        return []
    matching, errors = listeners(draft, rules)
    for name in matching:
        box = wave.boxes.get(name) or empty()
        stream = f"{conversation}/{name}"  # numbered for each recipient, as not all hear everything
        sequence = box["next"].get(stream_of({"sender": draft.by, "conversation": stream}), 1)
        envelope = Envelope(
            id=message_id(stream, draft.by, sequence),
            conversation=stream,
            sender=draft.by,
            recipient=name,
            kind="event",
            payload=entry["data"],
            schema_name=draft.type,
            sequence=sequence,
            causation=cause["to"].get(draft.by, "") if cause else "",
            sent_at=now,
            deadline=deadline,
            hops=depth,
        )
        entry["to"][name] = envelope.id
        wave.boxes[name], _ = deliver(box, [envelope.plain])
        wave.sent.append(envelope)
    return [found for name, why in errors for found in _failure(wave.log, n, name, why)]


def listeners(draft: Draft, rules: Rules) -> tuple[list[str], list[tuple[str, str]]]:
    """Who hears an event, each once however many of its subscriptions match; and whose filters failed, and how."""
    model = rules.types[draft.type]
    event = model.model_validate(draft.data)
    matching, errors = [], []
    for name, subscriptions in rules.subscribers.items():
        if name == draft.by:
            continue
        try:
            if any(model in s.types and (s.where is None or s.where(event)) for s in subscriptions):
                matching.append(name)
        except Exception as error:  # whatever a filter's author did not foresee
            errors.append((name, f"{name}: its filter failed: {type(error).__name__}: {error}"[:400]))
    return matching, errors


def due(
    boxes: Mapping[str, Mailbox], log: Sequence[Entry], rules: Rules, *, now: float
) -> tuple[dict[str, Mailbox], list[dict[str, Any]], list[Entry]]:
    """What subscribers handle next, the oldest first; what comes too late is written into the log instead."""
    number = {ident: e["n"] for e in log for ident in e["to"].values()}
    left, ready, entries = dict(boxes), [], list(log)
    for name in rules.subscribers:
        mine: list[dict[str, Any]] = []
        while not mine and name in left and left[name]["ready"]:
            left[name], letters = taken(left[name], rules.at_once)
            for letter in letters:
                n, found = number[letter["id"]], take(letter, now=now, schemas=rules.schemas)
                if isinstance(found, Envelope):
                    event = {"type": found.schema_name, "data": found.payload, "by": found.sender}
                    mine.append({"n": n, "to": name, **event})
                else:
                    why = f"{name} was not told of {letter['schema_name']}: {found.what}"
                    entries[n - 1] = noted(entries[n - 1], "late", name, why)
        ready += mine
    return left, ready, entries


def settled(log: Sequence[Entry], reactions: Sequence[Mapping[str, Any]]) -> tuple[list[Entry], list[Draft]]:
    """The log with what subscribers made of events, and what they publish.

    A failure is published as ErrorOccurred, but for a failure on just that: it would go on for ever.
    """
    entries, drafts = list(log), []
    for r in reactions:
        n, name = r["n"], r["by"]
        entry = entries[n - 1]
        if r["ok"]:
            done = entry.copy()
            done["done"] = [*entry.get("done", []), name]
            entries[n - 1] = noted(done, "flaws", name, r["reason"]) if r["reason"] else done
            drafts += [Draft(name, e["type"], e["data"], n) for e in r["events"]]
        else:
            drafts += _failure(entries, n, name, r["reason"])
    return entries, drafts


def noted(entry: Entry, where: Literal["failed", "flaws", "late"], name: str, why: str) -> Entry:
    """The entry with a word about one subscriber."""
    before: Any = entry.get(where) or {}
    return {**entry, where: {**before, name: why}}  # type: ignore[misc]  # `where` is one of three keys


def problems(log: Sequence[Entry], lost: Sequence[str], rules: Rules) -> list[str]:
    """What keeps a turn from being whole: errors that nobody dealt with, and cascades that were cut."""
    found: list[str] = []
    for e in log:
        if e["type"] == ErrorOccurred.__name__ and not e.get("done"):
            found.append(e["data"]["message"])
        if e["type"] == ErrorOccurred.__name__:
            found += e.get("failed", {}).values()
        found += [*e.get("flaws", {}).values(), *e.get("late", {}).values()]
    if cut := [e["cut"] for e in log if "cut" in e]:
        found.append(f"the cascade was cut at a depth of {rules.max_depth}: {', '.join(cut)}")
    if lost:
        found.append(f"the cascade was cut at {rules.max_events} events: {', '.join(lost)}")
    return list(dict.fromkeys(found))


def handled(log: Sequence[Entry]) -> list[str]:
    """The errors that somebody dealt with, and who."""
    errors = [e for e in log if e["type"] == ErrorOccurred.__name__ and e.get("done")]
    return [f"{e['data']['message']}; dealt with by {', '.join(e['done'])}" for e in errors]


def last_answer(log: Sequence[Entry], by: str = "") -> tuple[dict[str, Any] | None, str]:
    """What completed the task last, of one agent or of anybody; in words where it is a TaskCompleted."""
    mine = [e for e in log if e["by"] == by] if by else [e for e in log if e["type"] == TaskCompleted.__name__]
    words = [e for e in mine if e["type"] == TaskCompleted.__name__]
    last = [*mine[-1:], *words[-1:]]
    if not last:
        return None, ""
    entry = last[-1]
    return (text_in(entry["data"]) if words else dict(entry["data"])), entry["by"]


def text_in(data: Mapping[str, Any]) -> dict[str, Any]:
    """A TaskCompleted as the Text that it was."""
    return Text(**{k: v for k, v in data.items() if k != "by"}).model_dump(mode="json")


def _misfit(draft: Draft, rules: Rules) -> Fault | None:
    if draft.type == TaskPublished.__name__ and draft.by != WORLD:
        what = "the task is published once, by nobody of the team"
        return Fault(reason="schema", what=what, where="type", expected="another type", retryable=False)
    named = Envelope(
        id="draft", conversation="", sender=draft.by, recipient="all", kind="event", schema_name=draft.type
    )
    return unfit(named.model_copy(update={"payload": dict(draft.data)}), rules.schemas)


def _failure(log: list[Entry], n: int, name: str, why: str) -> list[Draft]:
    """Note who failed on an event, and what is published of that: nothing, where the event was an error itself."""
    entry = log[n - 1]
    log[n - 1] = noted(entry, "failed", name, why)
    if entry["type"] == ErrorOccurred.__name__:
        return []
    return [Draft(name, ErrorOccurred.__name__, {"agent": name, "event": entry["type"], "message": why}, n)]
