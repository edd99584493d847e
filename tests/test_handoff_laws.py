"""What no choice of any agent can change: handing over ends, in the order of the rules, and loses no word."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from laws import breaks

from nodes.handoff_words import results, tidy
from nodes.turn import begin
from state import handoff as rules_of
from state.handoff import PREFIX, Rules, State, allowed, keeps, refusal, spoken, transfer_tools
from state.turn import LASTING

NAMES = ("a", "b", "c", "d")
ways = st.lists(st.sampled_from(NAMES), min_size=1, max_size=14)
words = st.lists(
    st.fixed_dictionaries({"from": st.sampled_from(["user", "a", "b"]), "text": st.text(max_size=3)}), max_size=8
)
transfers = st.builds(
    lambda to, args, i: {"name": PREFIX + to, "args": args, "id": i},
    st.sampled_from([*NAMES, "x"]),
    st.sampled_from([{"reason": "r"}, {"reason": "r", "open": "o"}, {}, {"why": "w"}]),
    st.sampled_from(["1", "2", "", None]),
)
batches = st.lists(st.one_of(transfers, st.just({"name": "search", "args": {}, "id": "1"})), min_size=1, max_size=5)


def rules(**options: Any) -> Rules:
    return Rules(names=NAMES, start="a", **options)


@given(st.lists(st.sampled_from(NAMES), min_size=60, max_size=60), st.integers(1, 12), st.sampled_from(["", "d"]))
def test_whatever_agents_choose_handing_over_ends(choices: list[str], most: int, fallback: str) -> None:
    """Every choice is asked of whoever has control, until nobody may hand over any more."""
    way, handoffs = ["a"], 0
    options = rules(max_handoffs=most, fallback=fallback)
    for to in choices:
        if to == way[-1]:
            continue
        after = rules_of.follows(way, to, handoffs=handoffs, rules=options)
        if after.why:
            assert after.holder == (fallback or way[-1])
            return
        assert after.holder == to
        way, handoffs = [*way, to], handoffs + 1
        assert handoffs <= most
        assert not any(way[-2 * n : -n] == way[-n:] for n in range(2, len(way) // 2 + 1))
    assert handoffs <= most


def test_a_circle_that_is_not_seen_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_of, "circle", lambda way, times: [])
    breaks(test_whatever_agents_choose_handing_over_ends)


@given(ways, st.integers(2, 3))
def test_a_circle_is_the_shortest_round_made_so_often_at_the_end(way: list[str], times: int) -> None:
    found = rules_of.circle(way, times)
    rounds = [n for n in range(2, len(way) + 1) if way[-n:] * times == way[-n * times :]]
    assert found == (way[-rounds[0] :] if rounds else [])


def test_a_circle_seen_where_none_is_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_of, "circle", lambda way, times: list(way[-2:]) if way[-2:-1] == way[:1] else [])
    breaks(test_a_circle_is_the_shortest_round_made_so_often_at_the_end)


@given(batches, st.lists(st.sampled_from(NAMES), unique=True))
def test_of_several_transfers_the_first_that_is_allowed_counts_and_nothing_is_passed_over(
    calls: list[Any], targets: list[str]
) -> None:
    move = rules_of.resolved(calls, targets)
    fits = [
        c["name"].removeprefix(PREFIX)
        for c in calls
        if c["name"].removeprefix(PREFIX) in targets and c["name"] != "search" and "reason" in c["args"]
    ]
    assert (move.transfer.to if move.transfer else None) == (fits[0] if fits else None)
    assert [n for n in move.faults if calls[n]["name"] == "search"] == []
    assert len(move.faults) + len(fits) == len([c for c in calls if c["name"] != "search"])
    assert set(move.beside.values()) == set(fits) - set(fits[:1])


def test_another_transfer_than_the_first_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = rules_of.resolved
    monkeypatch.setattr(rules_of, "resolved", lambda calls, targets: right(calls[::-1], targets))
    breaks(test_of_several_transfers_the_first_that_is_allowed_counts_and_nothing_is_passed_over)


@given(batches)
def test_each_call_of_a_batch_has_an_id_of_its_own_and_one_result(calls: list[Any]) -> None:
    message = {"type": "ai", "data": {"content": "", "tool_calls": calls, "type": "ai"}}
    said = tidy(message, "m")
    ran: list[Any] = [AIMessage("ran", id=str(n)) for n, c in enumerate(calls) if c["name"] == "search"]
    found = results(said, rules_of.resolved(said.tool_calls, []), 1, ran)
    ids = [c["id"] for c in said.tool_calls]
    assert len(set(ids)) == len(ids) == len(found)
    assert all(ids)
    assert len({m.id for m in found}) == len(found)
    assert [m.tool_call_id for m in found if m.type == "tool"] == [
        c["id"] for c in said.tool_calls if c["name"] != "search"
    ]


@given(words, st.integers(0, 5))
def test_no_filter_loses_what_the_user_said(said: list[dict[str, str]], kept: int) -> None:
    shown = rules_of.chosen(said, lambda all_of_it: all_of_it[:kept])
    assert [w for w in said if w["from"] == "user" and w not in shown] == []
    assert [w for w in shown if w["from"] != "user"] == [w for w in said[:kept] if w["from"] != "user"]


def test_a_filter_that_loses_words_of_the_user_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_of, "chosen", lambda said, choose: choose(said))
    breaks(test_no_filter_loses_what_the_user_said)


@given(ways, st.sampled_from(["stays", "return_to_previous", "return_to_triage"]))
def test_the_next_turn_always_has_somebody(way: list[str], control: Any) -> None:
    after = keeps(control, way, "a")
    assert after == {"stays": way[-1], "return_to_triage": "a", "return_to_previous": [*way[:1], *way][-2]}[control]
    assert rules().begins(after) == after
    assert rules().begins("gone") == rules().begins(None) == "a"


def test_targets_keep_their_order_and_everybody_may_hand_to_everybody_by_default() -> None:
    assert allowed(["c", "a", "b"], None)["c"] == ("a", "b")
    assert allowed(["c", "a", "b"], {"c": ["b", "a", "b"]}) == {"c": ("b", "a"), "a": (), "b": ()}
    assert [t.name for t in transfer_tools({"z": "does z", "b": "does b"})] == ["transfer_to_z", "transfer_to_b"]


def test_a_refusal_says_what_can_be_done_instead() -> None:
    assert refusal("b", ["b"]) == ""
    assert refusal("x", ["b", "c"]) == "you cannot hand over to x: you may hand over to b, c, or answer"
    assert refusal("x", []) == "you cannot hand over to x: answer yourself"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("transfer_to_billing: it is money", ("billing", "it is money")),
        ("  transfer_to_billing ", ("billing", "no reason given")),
        ("please transfer_to_billing", None),
        ("done", None),
    ],
)
def test_a_person_hands_over_in_words(text: str, found: Any) -> None:
    said = spoken(text)
    assert (said and (said.to, said.reason)) == found


async def test_a_channel_that_lasts_is_not_cleared_at_the_next_turn() -> None:
    from typing import get_type_hints

    assert LASTING in get_type_hints(State, include_extras=True)["holder"].__metadata__
    update = await begin(State)({"task": "go"}, {"configurable": {}}, Bare())  # type: ignore[arg-type]
    assert "holder" not in update
    assert {"floor", "scratch", "talk"} <= set(update)


class Bare:
    """As much of a runtime as `begin` looks at."""

    context = None
    store = None
