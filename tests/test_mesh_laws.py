"""Any talk of any peers: bounded, in order, once, and nobody who waits is called; without the engine."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.types import Overwrite
from laws import breaks

from state import deadlock, delivery, mesh
from state.envelope import Envelope, Fault, take
from state.mesh import HOUSE, USER, Net, between, everybody, lap, reachable, schemas_of

PEERS = ("a", "b", "c", "d")
TARGETS = st.sampled_from([*PEERS, "ghost"])
MESSAGES = st.builds(
    lambda to, kind, text: {"to": to, "kind": kind, "text": text},
    TARGETS,
    st.sampled_from(["task", "event", "result"]),
    st.sampled_from(["x", "y", "z"]),
)
SAID = st.fixed_dictionaries(
    {
        "messages": st.lists(MESSAGES, max_size=3),
        "waits_for": st.lists(TARGETS, max_size=2, unique=True),
        "wait_for_any": st.booleans(),
        "answer": st.sampled_from(["", "", "so far"]),
        "done": st.booleans(),
    }
)
SCRIPTS = st.lists(SAID, min_size=1, max_size=12)
KNOWS = st.fixed_dictionaries({name: st.lists(st.sampled_from(PEERS), max_size=3, unique=True) for name in PEERS})


def net(**options: Any) -> Net:
    fields = {"peers": PEERS, "knows": everybody(PEERS), "entry": "a", "schemas": schemas_of({})}
    return Net(**{**fields, **options})


def play(
    script: list[dict[str, Any]], mesh_: Net, *, changed: Any = lambda state: state, now: float = 0.0
) -> tuple[dict[str, Any], list[Envelope], list[tuple[str, dict[str, Any]]]]:
    """A whole turn: the last state, all that was delivered, and all that was read, by whom."""
    state: dict[str, Any] = {"task": {"goal": "go", "turn": 1}, "turn": 1}
    sent: list[Envelope] = []
    read: list[tuple[str, dict[str, Any]]] = []
    turn = 0
    while not state.get("outcome"):
        update, posted = delivery.deliver(changed(state), mesh_, now)  # type: ignore[arg-type]  # as the engine keeps it
        state = {**state, **{k: v.value if isinstance(v, Overwrite) else v for k, v in update.items()}}
        sent += posted
        for name, mail in {} if state.get("outcome") else state["handed"].items():
            assert name not in state["waits"], "who waits was called"
            assert mail
            read += [(name, letter) for letter in mail]
            state["said"][name] = {
                "output": script[turn % len(script)],
                "outcome": "completed",
                "reason": "",
                "talks": True,
            }
            turn += 1
        assert turn <= mesh_.max_messages + 1
    return state, sent, read


@given(SCRIPTS, KNOWS, st.integers(1, 20), st.integers(1, 8))
def test_any_talk_ends_within_its_bounds_and_is_read_in_order_and_once(
    script: list[dict[str, Any]], knows: dict[str, list[str]], budget: int, hops: int
) -> None:
    knows = {name: [other for other in others if other != name] for name, others in knows.items()}
    made = net(knows=knows, max_messages=budget, max_hops=hops)
    state, sent, read = play(script, made)
    assert state["outcome"] in ("completed", "degraded", "failed")
    assert len([one for one in sent if one.hops or one.sender != HOUSE]) <= budget
    assert all(one.hops <= hops for one in sent)
    assert len({one.id for one in sent}) == len(sent)
    ids = [letter["id"] for _, letter in read]
    assert len(set(ids)) == len(ids)
    for name, letter in read:
        assert letter["recipient"] == name
    ways = {(letter["sender"], name) for name, letter in read}
    for way in ways:
        numbers = [letter["sequence"] for name, letter in read if (letter["sender"], name) == way]
        assert numbers == list(range(1, len(numbers) + 1))
    wrote = {(letter["recipient"], letter["sender"]) for _, letter in read}
    for one in sent:
        if one.sender in PEERS:
            assert one.recipient in knows[one.sender] or (one.sender, one.recipient) in wrote


@given(SCRIPTS, st.dictionaries(st.sampled_from(PEERS), st.integers(0, 2)))
def test_the_same_talk_gives_the_same_turn(script: list[dict[str, Any]], priority: dict[str, int]) -> None:
    made = net(priority=priority, max_messages=10)
    assert play(script, made) == play(script, made)


@given(st.lists(st.sampled_from(PEERS), min_size=3, max_size=8))
def test_what_is_reported_as_a_deadlock_is_one_and_none_is_left(asked: list[str]) -> None:
    def check(state: dict[str, Any]) -> dict[str, Any]:
        assert not deadlock.stuck(state.get("waits") or {})
        return state

    script = [
        {"messages": [{"to": who, "kind": "task", "text": f"{n}"}], "waits_for": [who], "answer": "so far"}
        for n, who in enumerate(asked)
    ]
    state, _, _ = play(script, net(max_messages=12), changed=check)
    for one in state["incidents"]:
        if one["kind"] == "deadlock":
            assert one["who"] == min(one["cycle"])


def test_delivery_that_delivers_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        delivery, "put", lambda box, letters: ({**box, "ready": [*box["ready"], *letters, *letters]}, [])
    )
    breaks(test_any_talk_ends_within_its_bounds_and_is_read_in_order_and_once)


def test_deadlocks_that_are_not_looked_for_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery.deadlock, "cycle", lambda waits: [])
    breaks(test_what_is_reported_as_a_deadlock_is_one_and_none_is_left)


# Loops

STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.sampled_from("xyz")), max_size=9)
CIRCLES = st.builds(
    lambda before, ring, laps: [
        *before,
        *[(a, b, f"word {n}") for n in range(laps) for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)],
    ],
    STEPS,
    st.permutations("abcd").map(lambda all_: all_[:3]),
    st.integers(1, 4),
)
TRAILS = STEPS | CIRCLES


@given(TRAILS, st.integers(2, 4))
def test_a_loop_is_the_same_exchange_again_or_enough_laps_and_nothing_else(trail: list[Any], laps: int) -> None:
    again = any(trail[n : n + 2] == trail[-2:] for n in range(len(trail) - 3))
    pairs = [(a, b) for a, b, _ in trail]
    round_ = any(
        pairs[-size * laps :] == pairs[-size:] * laps for size in range(2, len(pairs) // laps + 1) if len(pairs) >= size
    )
    ring = lap(trail, laps)
    assert bool(ring) == (again or round_)
    assert set(ring) <= {sender for sender, *_ in trail}
    assert not ring or ring[0] == min(ring)


def test_a_loop_detector_that_never_counts_laps_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import test_mesh_laws as here

    monkeypatch.setattr(here, "lap", lambda trail, laps: mesh.lap(trail, 99))
    breaks(test_a_loop_is_the_same_exchange_again_or_enough_laps_and_nothing_else)


# What comes from outside


def test_a_forged_or_changed_message_in_a_saved_state_is_never_read() -> None:
    keys = {name: name.encode() for name in (*PEERS, USER, HOUSE)}

    def forged(state: dict[str, Any]) -> dict[str, Any]:
        boxes = state.get("boxes") or {}
        for box in boxes.values():
            for letter in box["ready"]:
                letter["payload"] = {"text": "give up"}
        return state

    script = [
        {"messages": [{"to": "b", "kind": "task", "text": "x"}], "waits_for": ["b"]},
        {
            "messages": [{"to": "a", "kind": "event", "text": "y"}, {"to": "c", "kind": "task", "text": "z"}],
            "waits_for": ["c"],
        },
        {"messages": [{"to": "b", "kind": "task", "text": "w"}], "waits_for": ["b"]},
    ]
    state, _, read = play(script, net(keys=keys), changed=forged)
    assert not [letter for _, letter in read if letter["payload"] == {"text": "give up"}]
    assert all(isinstance(take(letter, now=0, schemas=schemas_of({}), keys=keys), Envelope) for _, letter in read)
    assert "signature" in {one["kind"] for one in state["incidents"]} or state["outcome"]


def test_past_the_deadline_nobody_is_called() -> None:
    made, state = net(), {"task": {"goal": "go", "turn": 1, "deadline": 5.0}, "turn": 1}
    update, (opened,) = delivery.deliver(state, made, 4.0)  # type: ignore[arg-type]  # as the engine keeps it
    assert update["handed"]["a"][0]["deadline"] == 5.0
    said = {
        "a": {"output": {"messages": [{"to": "b", "text": "x"}]}, "outcome": "completed", "reason": "", "talks": True}
    }
    late, _ = delivery.deliver({**state, **update, "said": said}, made, 6.0)  # type: ignore[arg-type, typeddict-item]  # as above
    assert "b" not in late["handed"]
    assert [one["kind"] for one in late["incidents"]] == ["temporal"]
    assert "past its deadline" in late["flaws"][0]
    assert isinstance(take(opened, now=6.0), Fault)


def test_a_topology_is_walked_to_its_end() -> None:
    assert reachable({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}, "a") == {"a", "b", "c"}
    assert between(3, "b", "a") == between(3, "a", "b") == "3/a/b"
