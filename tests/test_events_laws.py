"""What no reaction can change: each event reaches each subscriber that it matches once, in order, and cascades end."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import breaks

from state import events as rules_of
from state.events import (
    OWN,
    WORLD,
    DataAvailable,
    Draft,
    ErrorOccurred,
    Rules,
    StateChanged,
    TaskPublished,
    last_answer,
    on,
)

NAMES = ("a", "b", "c")
TYPES = (TaskPublished, DataAvailable, StateChanged, ErrorOccurred)


def small(event: Any) -> bool:
    return len(getattr(event, "name", "")) < 2


def breaks_on_names(event: Any) -> bool:
    return bool(event.name)


subscription = st.builds(
    lambda types, where: on("x", *types, where=where),
    st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True),
    st.sampled_from([None, small, breaks_on_names]),
)
subscribers = st.fixed_dictionaries({name: st.lists(subscription, max_size=2) for name in NAMES})
event = st.one_of(
    st.builds(lambda n: {"type": "DataAvailable", "data": {"name": n}}, st.sampled_from(["x", "yy"])),
    st.builds(lambda n: {"type": "StateChanged", "data": {"name": n}}, st.sampled_from(["x", "yy"])),
    st.just({"type": "DataAvailable", "data": {"nome": "misspelt"}}),
    st.just({"type": "Unheard", "data": {}}),
)
reaction = st.one_of(
    st.lists(event, max_size=3).map(lambda made: {"ok": True, "events": made, "outcome": "completed", "reason": ""}),
    st.just({"ok": False, "events": [], "outcome": "failed", "reason": "it failed"}),
)
setups = st.builds(
    lambda who, depth, most, at_once: Rules(
        subscribers=who, types={t.__name__: t for t in OWN}, max_depth=depth, max_events=most, at_once=at_once
    ),
    subscribers,
    st.integers(1, 4),
    st.integers(1, 12),
    st.sampled_from([None, 1, 2]),
)


class Story(NamedTuple):
    log: Any
    handled: list[dict[str, Any]]
    waves: int


def played(rules: Rules, reactions: list[Any]) -> Story:
    """The waves of one turn, with these reactions one after the other, again and again."""
    log: Any = []
    boxes: Any = {}
    drafts, handled, waves = [Draft(WORLD, "TaskPublished", {"goal": "go"})], [], 0
    while True:
        waves += 1
        assert waves <= 200, "it goes on for ever"
        wave = rules_of.publish(log, boxes, drafts, rules, conversation="t", now=1.0)
        boxes, ready, log = rules_of.due(wave.boxes, wave.log, rules, now=1.0)
        if not ready:
            return Story(log, handled, waves)
        said = [
            reactions[(len(handled) + i) % len(reactions)] | {"n": r["n"], "by": r["to"]} for i, r in enumerate(ready)
        ]
        handled += ready
        log, drafts = rules_of.settled(log, said)


def hears(rules: Rules, name: str, entry: Any) -> bool:
    """Whether a subscriber is to hear of an event, read from its subscriptions alone."""
    made = rules.types[entry["type"]].model_validate(entry["data"])
    if entry["by"] == name or entry["depth"] > rules.max_depth:
        return False
    for s in rules.subscribers[name]:
        try:
            if type(made) in s.types and (s.where is None or s.where(made)):
                return True
        except AttributeError:
            return False
    return False


@given(setups, st.lists(reaction, min_size=1, max_size=5))
def test_each_event_reaches_each_matching_subscriber_exactly_once(rules: Rules, reactions: list[Any]) -> None:
    story = played(rules, reactions)
    expected = sorted((e["n"], name) for e in story.log for name in NAMES if hears(rules, name, e))
    assert sorted((h["n"], h["to"]) for h in story.handled) == expected


def test_an_event_that_is_lost_or_doubled_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = rules_of.listeners
    monkeypatch.setattr(rules_of, "listeners", lambda draft, rules: (right(draft, rules)[0][1:], []))
    breaks(test_each_event_reaches_each_matching_subscriber_exactly_once)
    monkeypatch.undo()
    once = rules_of.deliver

    def twice(box: Any, letters: Any) -> Any:
        after, verdicts = once(box, letters)
        return {**after, "ready": [*after["ready"], after["ready"][-1]]}, verdicts

    monkeypatch.setattr(rules_of, "deliver", twice)
    breaks(test_each_event_reaches_each_matching_subscriber_exactly_once)


@given(setups, st.lists(reaction, min_size=1, max_size=5))
def test_each_subscriber_hears_events_in_the_order_of_their_publication(rules: Rules, reactions: list[Any]) -> None:
    story = played(rules, reactions)
    assert [e["n"] for e in story.log] == list(range(1, len(story.log) + 1))
    assert all(e["cause"] < e["n"] for e in story.log)
    for name in NAMES:
        heard = [h["n"] for h in story.handled if h["to"] == name]
        assert heard == sorted(heard)


def test_events_out_of_order_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = rules_of.taken

    def newest_first(box: Any, most: int | None = None) -> Any:
        return right({**box, "ready": box["ready"][::-1]}, most)

    monkeypatch.setattr(rules_of, "taken", newest_first)
    breaks(test_each_subscriber_hears_events_in_the_order_of_their_publication)


@given(setups, st.lists(reaction, min_size=1, max_size=5))
def test_every_cascade_ends_within_its_bounds(rules: Rules, reactions: list[Any]) -> None:
    story = played(rules, reactions)
    depth = {e["n"]: e["depth"] for e in story.log}
    assert len(story.log) <= rules.max_events
    assert all(depth[h["n"]] <= rules.max_depth for h in story.handled)
    assert len(story.handled) <= rules.max_events * len(NAMES)
    most = rules.max_depth + 2 if rules.at_once is None else rules.max_events * len(NAMES) + 1
    assert story.waves <= most


def test_a_cascade_without_its_bounds_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = rules_of.publish
    free = {"max_events": 10**6, "max_depth": 10**6}

    def unbounded(log: Any, boxes: Any, drafts: Any, rules: Rules, **known: Any) -> Any:
        wider = Rules(subscribers=rules.subscribers, types=rules.types, at_once=rules.at_once, **free)
        return right(log, boxes, drafts[:2], wider, **known)

    monkeypatch.setattr(rules_of, "publish", unbounded)
    breaks(test_every_cascade_ends_within_its_bounds)


@given(setups, st.lists(reaction, min_size=1, max_size=5))
def test_no_error_follows_from_an_error_and_none_is_passed_over(rules: Rules, reactions: list[Any]) -> None:
    story = played(rules, reactions)
    kinds = {e["n"]: e["type"] for e in story.log}
    errors = [e for e in story.log if e["type"] == "ErrorOccurred"]
    assert [e for e in errors if kinds.get(e["cause"]) == "ErrorOccurred"] == []
    if len(story.log) < rules.max_events:
        failed = [(e["n"], name) for e in story.log for name in e.get("failed", {}) if e["type"] != "ErrorOccurred"]
        assert sorted(failed) == sorted({(e["cause"], e["by"]) for e in errors})


def test_an_error_handler_that_loops_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def always(log: Any, n: int, name: str, why: str) -> list[Draft]:
        log[n - 1] = rules_of.noted(log[n - 1], "failed", name, why)
        return [Draft(name, "ErrorOccurred", {"agent": name, "event": "", "message": why}, n)]

    monkeypatch.setattr(rules_of, "_failure", always)
    breaks(test_no_error_follows_from_an_error_and_none_is_passed_over)


def test_an_envelope_follows_from_the_one_that_caused_it() -> None:
    rules = Rules(
        subscribers={"a": [on("a", TaskPublished)], "b": [on("b", DataAvailable)]},
        types={t.__name__: t for t in OWN},
    )
    first = rules_of.publish([], {}, [Draft(WORLD, "TaskPublished", {"goal": "go"})], rules, conversation="t", now=1.0)
    log, drafts = rules_of.settled(
        first.log,
        [{"n": 1, "by": "a", "ok": True, "events": [{"type": "DataAvailable", "data": {"name": "x"}}], "reason": ""}],
    )
    second = rules_of.publish(log, first.boxes, drafts, rules, conversation="t", now=2.0, deadline=9.0)
    (cause,), (effect,) = first.sent, second.sent
    assert (effect.causation, effect.hops, effect.kind, effect.deadline) == (cause.id, 1, "event", 9.0)
    assert (effect.sender, effect.recipient, effect.schema_name) == ("a", "b", "DataAvailable")


def test_the_last_answer_is_words_where_there_are_any() -> None:
    log: Any = [
        {"type": "TaskCompleted", "by": "a", "data": {"by": "a", "text": "one"}},
        {"type": "TaskCompleted", "by": "b", "data": {"by": "b", "text": "two"}},
        {"type": "StateChanged", "by": "c", "data": {"name": "x"}},
    ]
    assert [last_answer(log)[1], (last_answer(log, "a")[0] or {})["text"]] == ["b", "one"]
    assert last_answer(log, "c") == ({"name": "x"}, "c")
    assert last_answer(log, "d") == (None, "")
