"""The laws of a blackboard, over sources that count on shared entries, without an engine; and that each can fail."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import breaks

from state import board, round
from state.agent import Agent
from state.blackboard import Bounds, look
from state.board import Contribution, Seat, Source, seat, when
from state.round import settle


def adder(n: int, entries: list[str], times: int, priority: int) -> Seat:
    """A source that adds one to its entries, so many times."""

    def wants(shared: Any) -> bool:
        return f"tally-{n}" not in shared or shared[f"tally-{n}"]["value"] < times

    agent = Agent(name=f"s{n}", responsibility="Adds.", output=Contribution)
    return seat(Source(who=agent, trigger=wants, writes=[*entries, f"tally-{n}"], priority=priority), agent)


ENTRIES = st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=2, unique=True)
TEAMS = st.lists(st.tuples(ENTRIES, st.integers(1, 3), st.integers(0, 1)), min_size=1, max_size=6).map(
    lambda some: [adder(n, *one) for n, one in enumerate(some)]
)
BOUNDS = st.builds(
    Bounds,
    max_activations=st.integers(1, 80),
    at_once=st.one_of(st.none(), st.integers(1, 4)),
    max_retries=st.integers(0, 6),
    max_idle=st.just(3),
)


def play(seats: list[Seat], bounds: Bounds, seed: int = 0) -> dict[str, Any]:
    """The end of a turn in which every source reads the board, adds one to each of its entries, and writes them."""
    state: Any = {"board": {}, "revision": 0, "log": [], "memory": {}}
    known = {s.name: s for s in seats}
    while True:
        found = look(seats, state, bounds, None, left=True)
        state |= found | {"log": [*state["log"], *found.get("log", ())]}
        if "over" in found:
            return dict(state)
        now = state["board"]
        read = {e: v["version"] for e, v in now.items()}
        state["offers"] = {
            name: {
                "output": {
                    "entries": [
                        {"entry": e, "value": now[e]["value"] + 1 if e in now else 1, "evidence": []}
                        for e in known[name].writes
                    ]
                },
                "outcome": "completed",
                "reason": "",
                "read": read,
            }
            for name in state["chosen"]
        }
        found = settle(known, state, bounds, seed=seed)
        state |= found | {"log": [*state["log"], *found["log"]]}


@given(TEAMS, BOUNDS, st.integers(0, 3))
def test_no_update_is_lost_every_increment_is_an_accepted_write(seats: list[Seat], bounds: Bounds, seed: int) -> None:
    end = play(seats, bounds, seed)
    wrote = [entry for e in end["log"] if e["what"] == "wrote" for entry in e["entries"]]
    for entry, value in end["board"].items():
        assert value["value"] == value["version"] == wrote.count(entry)


@given(TEAMS, BOUNDS)
def test_of_those_who_write_an_entry_in_one_round_one_wins(seats: list[Seat], bounds: Bounds) -> None:
    end = play(seats, bounds)
    won = [(e["round"], entry) for e in end["log"] if e["what"] == "wrote" for entry in e["entries"]]
    assert len(won) == len(set(won))


@given(TEAMS, BOUNDS)
def test_the_work_ends_within_its_bounds_and_every_activation_is_in_the_log(seats: list[Seat], bounds: Bounds) -> None:
    end = play(seats, bounds)
    assert end["activations"] == len(end["log"]) <= bounds.max_activations
    for name in (s.name for s in seats):
        row = [e["what"] for e in end["log"] if e["source"] == name]
        assert "retries" * (bounds.max_retries + 1) not in "".join(row)
        assert "lost" not in row[:-1]
    if end["over"]["outcome"] == "completed":
        assert all(e["what"] != "lost" for e in end["log"])


@given(TEAMS, BOUNDS, st.integers(0, 3))
def test_the_same_seed_gives_the_same_turn(seats: list[Seat], bounds: Bounds, seed: int) -> None:
    assert play(seats, bounds, seed) == play(seats, bounds, seed)


@given(st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc")))
def test_a_trigger_holds_exactly_when_all_are_there_and_none_of_those(here: Any, wanted: Any, unwanted: Any) -> None:
    holds = board.when(*wanted, without=tuple(unwanted))(dict.fromkeys(here))
    assert holds is (wanted <= here and not unwanted & here)


@given(st.lists(st.sampled_from(["a", "b", "fact.1", "fact.2", "facts"]), max_size=6))
def test_nothing_is_written_that_was_not_declared_nor_twice(entries: list[str]) -> None:
    agent = Agent(name="s", responsibility="Writes.", output=Contribution)
    mine = seat(Source(who=agent, trigger=when(), writes=["a", "fact.*"]), agent)
    output = {"entries": [{"entry": e, "value": 1, "evidence": []} for e in entries]}
    made, refused = board.writes_of(mine, [mine], output, {})
    assert [w["key"] for w in made] == list(dict.fromkeys(e for e in entries if e in ("a", "fact.1", "fact.2")))
    assert len(made) + len(refused) == len(entries)


# That each law can fail


def test_a_writer_who_does_not_look_at_the_version_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = round.compare_and_set

    def careless(shared: Any, *writes: Any) -> Any:
        fresh = [{**w, "expected": shared[w["key"]]["version"] if w["key"] in shared else 0} for w in writes]
        return right(shared, *fresh)

    monkeypatch.setattr(round, "compare_and_set", careless)
    breaks(test_no_update_is_lost_every_increment_is_an_accepted_write)
    breaks(test_of_those_who_write_an_entry_in_one_round_one_wins)


def test_retries_without_end_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round, "backoff", lambda tries, *, most, seed: 0.0)
    breaks(test_the_work_ends_within_its_bounds_and_every_activation_is_in_the_log)


def test_a_wait_that_is_not_seeded_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(1).random
    right = round.backoff
    monkeypatch.setattr(round, "backoff", lambda tries, *, most, seed: right(tries, most=most, seed=dice()))
    breaks(test_the_same_seed_gives_the_same_turn)


def test_a_trigger_that_takes_any_entry_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "when", lambda *here, without=(): lambda on: any(e in on for e in here))
    breaks(test_a_trigger_holds_exactly_when_all_are_there_and_none_of_those)


def test_a_write_of_what_was_not_declared_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "may_write", lambda mine, entry: True)
    breaks(test_nothing_is_written_that_was_not_declared_nor_twice)
