"""Logs of events and the views folded from them: what a view shows is what its events say, and no more.

Plain data: an event is a dict with a `type`, a view whatever its handlers make of it. A snapshot is a
view and how many events are in it, so that only the tail has to be folded.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from typing_extensions import TypedDict

from state.errors import InputError

Event = Mapping[str, Any]
View = dict[str, Any]
Handlers = Mapping[str, Callable[[View, Event], View]]
"""What each type of event does to a view: pure, and never in place."""


class Snapshot(TypedDict):
    """A view, and the number of events that it was folded from."""

    at: int
    view: View


def fold(events: Iterable[Event], handlers: Handlers, view: View) -> View:
    """The view after all events. Raises InputError for a type without a handler: no view is better than a wrong one."""
    for n, event in enumerate(events, 1):
        handle = handlers.get(event.get("type", ""))
        if handle is None:
            raise InputError(
                f"event {n} has the unknown type {event.get('type')!r}; known are {', '.join(sorted(handlers))}"
            )
        view = handle(view, event)
    return view


def snapshot(events: Iterable[Event], handlers: Handlers, since: Snapshot) -> Snapshot:
    """A later snapshot: the events are those that came after the earlier one."""
    tail = list(events)
    return {"at": since["at"] + len(tail), "view": fold(tail, handlers, since["view"])}
