"""The floor of a group chat, without an engine: only who may speak gets it, and in turn everybody does."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from laws import breaks

from state import group_chat, speaker
from state.condition import Conversation
from state.speaker import Rules, round_robin

TEAM = ("ann", "bob", "eve", "zed")
names = st.sampled_from(TEAM)
some = st.lists(names, unique=True)
rules = st.builds(
    Rules,
    team=st.permutations(TEAM).map(tuple),
    choose=st.just(round_robin),
    allow_repeats=st.booleans(),
    transitions=st.dictionaries(names, some),
)
sayings = st.one_of(names, some.map(" and ".join), st.text(max_size=20), st.integers())


@given(rules, names, sayings)
def test_only_who_may_speak_gets_the_floor(made: Rules, last: str, said: Any) -> None:
    ruled = replace(made, choose=lambda now: said)
    able = speaker.candidates(ruled, last)
    name, fault = speaker.chosen(ruled, Conversation(team=ruled.team, speaker=last, candidates=able))
    assert name in able or (not able and not name)
    assert not fault or name == speaker.following(ruled.team, last, able)
    assert set(able) == set(speaker.ways(ruled, last)) <= set(ruled.transitions.get(last, TEAM))
    assert ruled.allow_repeats or last not in able


@given(st.permutations(TEAM), st.integers(0, 3), st.integers(1, 3))
def test_in_turn_everybody_speaks_equally_often(team: list[str], start: int, rounds: int) -> None:
    last, spoken = team[start], []
    for _ in range(rounds * len(team)):
        last = speaker.following(team, last, team)
        spoken.append(last)
    assert {spoken.count(name) for name in team} == {rounds}


@given(names, some, st.sampled_from(["{}", " {}. ", "@{}", "{}!", "I name {}, for a reason", "{}".upper()]))
def test_a_name_is_read_in_whatever_dress_and_only_if_it_may_speak(name: str, able: list[str], dress: str) -> None:
    found, fault = speaker.read_name(dress.format(name), able, TEAM)
    assert (found, bool(fault)) == ((name, False) if name in able else ("", True))


@given(some.filter(lambda s: len(s) != 1), st.text(alphabet=" .,!?0123456789", max_size=5))
def test_no_name_or_several_name_nobody(said: list[str], noise: str) -> None:
    found, fault = speaker.read_name(f"{noise} {' or '.join(said)} {noise}", TEAM, TEAM)
    assert found == ""
    assert ("several" if said else "no participant") in fault


@given(st.integers(0, 120), st.integers(1, 30), st.integers(0, 60), st.booleans())
def test_nothing_is_lost_between_summary_and_window(length: int, window: int, upto: int, summarizes: bool) -> None:
    talk = [AIMessage(str(n), name="ann", id=str(n)) for n in range(length)]
    made = Rules(team=("ann", "bob"), windows={"ann": window, "bob": 1}, summarizes=summarizes)
    upto = min(upto, length) if summarizes else 0
    state: Any = {"talk": talk, "summary": {"text": "before", "upto": upto} if upto else {}}
    seen = [int(m["text"]) for m in group_chat.seen_by(made, state, "ann").get("conversation", [])]
    assert seen == list(range(length - len(seen), length))
    assert len(seen) >= min(window, length)
    if summarizes:
        assert length - len(seen) <= upto
        assert group_chat.due(made, state) == (length - upto >= 2 * window)
    else:
        assert len(seen) == min(window, length)


@given(st.integers(0, 50).map(lambda n: n * ["no name", ""]))
def test_invalid_selections_are_all_counted_and_the_newest_kept(faults: list[str]) -> None:
    state: Any = {}
    floor = group_chat.opened(0.0)
    for fault in faults:
        update = group_chat.granted(state, floor, "ann", fault, "ann in turn")
        floor, state = update["floor"], state | update
    assert floor["refused"] == faults.count("no name")
    assert len(state.get("refused", [])) == min(faults.count("no name"), 20)


# Each law fails when its rule is broken


def test_a_filter_that_lets_anybody_speak_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker, "candidates", lambda rules, last: rules.team)
    breaks(test_only_who_may_speak_gets_the_floor)


def test_a_turn_that_skips_somebody_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker, "following", lambda team, last, among: team[(team.index(last) + 2) % len(team)])
    breaks(test_in_turn_everybody_speaks_equally_often)


def test_a_reading_that_takes_whom_it_likes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker, "read_name", lambda said, able, team: (team[0], ""))
    breaks(test_only_who_may_speak_gets_the_floor)
    breaks(test_a_name_is_read_in_whatever_dress_and_only_if_it_may_speak)
    breaks(test_no_name_or_several_name_nobody)


def test_a_window_that_forgets_the_summary_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_chat, "summarized", lambda state: 10**6)
    breaks(test_nothing_is_lost_between_summary_and_window)


def test_a_record_of_all_invalid_selections_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_chat, "REFUSED", 10**6)
    breaks(test_invalid_selections_are_all_counted_and_the_newest_kept)
