"""Mailboxes and logs: in order per sender, once per id, and a view is what its events say."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from laws import breaks

from state import log, mailbox
from state.errors import InputError

STREAMS = [("ann", "c1"), ("ann", "c2"), ("bob", "c1")]


def letter(stream: tuple[str, str], number: int, id_: str = "") -> dict[str, Any]:
    sender, conversation = stream
    return {
        "id": id_ or f"{sender}/{conversation}/{number}",
        "sender": sender,
        "conversation": conversation,
        "sequence": number,
    }


class Post(RuleBasedStateMachine):
    """Letters arrive in any order, twice, and with numbers that were used before."""

    def __init__(self) -> None:
        super().__init__()
        self.box = mailbox.empty()
        self.came: dict[tuple[str, str], set[int]] = {stream: set() for stream in STREAMS}
        self.out: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []

    def _put(self, one: dict[str, Any]) -> mailbox.Verdict:
        before = json.dumps(self.box)
        after, (verdict,) = mailbox.deliver(self.box, [one])
        assert json.dumps(self.box) == before, "a mailbox was changed in place"
        self.events.append({"type": "arrived", "letter": one})
        self.box = after
        return verdict

    @rule(stream=st.sampled_from(STREAMS), number=st.integers(1, 6))
    def arrive(self, stream: tuple[str, str], number: int) -> None:
        before, known = self.box, number in self.came[stream]
        verdict = self._put(letter(stream, number))
        if known:
            assert (verdict, self.box) == ("duplicate", before)
        else:
            assert verdict == ("delivered" if set(range(1, number)) <= self.came[stream] else "held")
        self.came[stream].add(number)

    @precondition(lambda self: any(self.came.values()))
    @rule(stream=st.sampled_from(STREAMS))
    def regress(self, stream: tuple[str, str]) -> None:
        for number in sorted(self.came[stream]):
            before = self.box
            assert (self._put(letter(stream, number, "another id")), self.box) == ("regression", before)

    @rule(most=st.none() | st.integers(0, 3))
    def take(self, most: int | None) -> None:
        self.box, taken = mailbox.take(self.box, most)
        self.events.append({"type": "taken", "most": most})
        self.out += taken

    @invariant()
    def in_order_and_once(self) -> None:
        handed = [*self.out, *self.box["ready"]]
        for stream in STREAMS:
            mine = [one["sequence"] for one in handed if (one["sender"], one["conversation"]) == stream]
            run = next(n for n in range(1, 9) if n not in self.came[stream]) - 1
            assert mine == list(range(1, run + 1))

    @invariant()
    def gaps_are_seen(self) -> None:
        expected = []
        for stream in sorted(STREAMS):
            missing = [n for n in range(1, max(self.came[stream], default=0)) if n not in self.came[stream]]
            if missing:
                expected.append(mailbox.Gap(*stream, missing))
        assert mailbox.gaps(self.box) == expected

    def teardown(self) -> None:
        """At the end, it is the view of its log."""
        assert log.fold(self.events, mailbox.HANDLERS, dict(mailbox.empty())) == self.box


TestPost = Post.TestCase
TestPost.settings = settings(stateful_step_count=15)  # enough for every stream to have its gaps and duplicates


@pytest.mark.parametrize(
    "wrong",
    [
        lambda *given: "delivered" if given[1] == given[2] else "held",  # a duplicate is delivered again
        lambda *given: "duplicate" if given[0]["id"] in given[4] else "delivered",  # a gap goes unseen
        lambda *given: "regression" if given[1] < given[2] else "held",
    ],
)
def test_a_mailbox_that_breaks_a_rule_is_found(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "_verdict", wrong)
    breaks(Post)


def test_a_batch_is_the_same_as_one_by_one() -> None:
    letters = [letter(("ann", "c1"), n) for n in (2, 1, 1, 4, 3)]
    box, verdicts = mailbox.deliver(mailbox.empty(), letters)
    assert verdicts == ["held", "delivered", "duplicate", "held", "delivered"]
    assert [one["sequence"] for one in box["ready"]] == [1, 2, 3, 4]
    alone = mailbox.empty()
    for one in letters:
        alone, _ = mailbox.deliver(alone, [one])
    assert alone == box


# Logs

HANDLERS: log.Handlers = {
    "added": lambda view, event: {**view, event["name"]: view.get(event["name"], 0) + event["by"]},
    "dropped": lambda view, event: {name: n for name, n in view.items() if name != event["name"]},
}
EVENTS = st.lists(
    st.builds(
        lambda type_, name, by: {"type": type_, "name": name, "by": by},
        st.sampled_from(["added", "dropped"]),
        st.sampled_from("ab"),
        st.integers(-3, 3),
    ),
    max_size=12,
)


def step_by_step(events: list[dict[str, Any]]) -> dict[str, int]:
    """The same view, kept by hand."""
    view: dict[str, int] = {}
    for event in events:
        if event["type"] == "dropped":
            view.pop(event["name"], None)
        else:
            view[event["name"]] = view.get(event["name"], 0) + event["by"]
    return view


@given(EVENTS)
def test_a_view_is_what_its_events_say(events: list[dict[str, Any]]) -> None:
    assert log.fold(events, HANDLERS, {}) == step_by_step(events)


@given(EVENTS, st.integers(0, 12), st.integers(0, 12))
def test_a_snapshot_and_the_tail_are_the_whole_fold(events: list[dict[str, Any]], a: int, b: int) -> None:
    first, second = sorted((min(a, len(events)), min(b, len(events))))
    early = log.snapshot(events[:first], HANDLERS, {"at": 0, "view": {}})
    later = log.snapshot(events[first:second], HANDLERS, early)
    assert later["at"] == second
    assert log.fold(events[second:], HANDLERS, later["view"]) == log.fold(events, HANDLERS, {})


@given(EVENTS, st.integers(0, 12), st.sampled_from(["", "renamed", None]))
def test_an_unknown_event_fails_closed(events: list[dict[str, Any]], at: int, kind: Any) -> None:
    some = [*events[:at], {"type": kind}, *events[at:]]
    assert refused(some)


def refused(events: list[dict[str, Any]]) -> bool:
    try:
        log.fold(events, HANDLERS, {})
    except InputError as error:
        return "unknown type" in str(error)
    return False


def test_a_fold_that_skips_what_it_does_not_know_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(events: Any, handlers: log.Handlers, view: dict[str, Any]) -> dict[str, Any]:
        for event in events:
            view = handlers[event["type"]](view, event) if event["type"] in handlers else view
        return view

    monkeypatch.setattr(log, "fold", lenient)
    breaks(test_an_unknown_event_fails_closed)


def test_a_snapshot_that_loses_an_event_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = log.snapshot
    monkeypatch.setattr(log, "snapshot", lambda events, handlers, since: whole(events[1:], handlers, since))
    breaks(test_a_snapshot_and_the_tail_are_the_whole_fold)


def test_a_fold_in_another_order_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = log.fold
    monkeypatch.setattr(log, "fold", lambda events, handlers, view: whole([*events][::-1], handlers, view))
    breaks(test_a_view_is_what_its_events_say)
