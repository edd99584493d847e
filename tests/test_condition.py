"""Conditions that end a conversation: what each says, and the laws by which they compose."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import breaks

from runtime.persistence import Persistence
from runtime.stop import stop, stopped
from state import condition
from state.condition import (
    Condition,
    Conversation,
    Joined,
    Leaf,
    agreement,
    external,
    max_messages,
    max_turns,
    plain,
    said_by,
    text_mention,
    token_budget,
    wall_time,
    when,
)
from state.errors import ContractError

TEAM = ("ann", "bob", "eve")
words = st.sampled_from(["yes", "no", "done", "DONE!", "undone", "I am done, bob", None])
turns = st.lists(st.tuples(st.sampled_from(TEAM), words, st.booleans()), max_size=7)
leaves = st.sampled_from(
    [
        max_turns(2),
        max_messages(3),
        text_mention("done"),
        said_by("bob"),
        said_by("eve", "yes"),
        token_budget(40),
        wall_time(15),
        agreement(2),
        agreement(),
        external(),
        when(lambda now: now.text == "no" and "a no"),
    ]
)
conditions: st.SearchStrategy[Condition] = st.recursive(
    leaves,
    lambda inner: st.builds(Condition.__or__, inner, inner) | st.builds(Condition.__and__, inner, inner),
    max_leaves=4,
)


def conversations(said: list[tuple[str, str | None, bool]]) -> list[Conversation]:
    """What conditions see after each turn; a stop from outside comes late."""
    out, messages = [], 0
    for n, (who, text, stops) in enumerate(said, 1):
        messages += text is not None
        out.append(
            Conversation(
                team=TEAM,
                turns=n,
                speaker=who,
                text=text,
                messages=messages,
                tokens=15 * n,
                seconds=5.0 * n,
                stop="enough" if stops and n > 5 else "",
            )
        )
    return out


def ends(what: Condition, said: Any) -> list[bool]:
    """Whether it is over after each turn."""
    memory, out = None, []
    for now in conversations(said):
        memory = what.take(memory, now)
        out.append(what.ending(memory) is not None)
    return out


def end_of(what: Condition, *said: tuple[str, str | None]) -> str:
    """Why it is over after these turns; empty while it goes on."""
    memory = None
    for now in conversations([(who, text, False) for who, text in said]):
        memory = what.take(memory, now)
    found = what.ending(memory)
    return found.why if found else ""


# Laws


@given(conditions, conditions, turns)
def test_or_is_met_when_either_is_and_and_when_both_are(a: Condition, b: Condition, said: Any) -> None:
    one, other = ends(a, said), ends(b, said)
    assert ends(a | b, said) == [x or y for x, y in zip(one, other, strict=True)]
    assert ends(a & b, said) == [x and y for x, y in zip(one, other, strict=True)]


@given(conditions, conditions, conditions, turns)
def test_brackets_and_order_do_not_matter(a: Condition, b: Condition, c: Condition, said: Any) -> None:
    assert (a | b) | c == a | (b | c)
    assert (a & b) & c == a & (b & c)
    assert ends(a | b, said) == ends(b | a, said)
    assert ends(a & b, said) == ends(b & a, said)


@given(conditions, conditions, conditions, turns)
def test_they_distribute_absorb_and_repeat_without_effect(a: Condition, b: Condition, c: Condition, said: Any) -> None:
    assert ends(a & (b | c), said) == ends((a & b) | (a & c), said)
    assert ends(a | (b & c), said) == ends((a | b) & (a | c), said)
    assert ends(a | (a & b), said) == ends(a & (a | b), said) == ends(a | a, said) == ends(a & a, said) == ends(a, said)


@given(conditions, turns)
def test_a_stopped_conversation_stays_stopped(what: Condition, said: Any) -> None:
    found = ends(what, said)
    assert found == sorted(found)


@given(conditions, turns)
def test_the_memory_is_plain_data_and_the_same_after_a_resume(what: Condition, said: Any) -> None:
    memory, again = None, None
    for now in conversations(said):
        memory = what.take(memory, now)
        again = json.loads(json.dumps(what.take(again, now)))
        assert memory == again
        assert what.ending(memory) == what.ending(again)


@given(conditions, turns)
def test_it_says_in_words_why_it_ended(what: Condition, said: Any) -> None:
    memory = None
    for now in conversations(said):
        memory = what.take(memory, now)
        found = what.ending(memory)
        assert found is None or (found.whys and all(found.whys) and len(set(found.whys)) == len(found.whys))


@given(conditions)
def test_memory_does_not_grow_with_the_conversation(what: Condition) -> None:
    sizes, memory = {}, None
    for now in conversations([(TEAM[at % 3], f"word {at:02}", False) for at in range(40)]):
        memory = what.take(memory, now)
        if now.turns in (20, 40):
            sizes[now.turns] = len(json.dumps(memory))
    assert sizes[40] - sizes[20] <= 30 * 4  # the words of a bound that was met since


# Each law fails when its rule is broken


def test_an_or_that_wants_both_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Condition, "__or__", Condition.__and__)
    breaks(test_or_is_met_when_either_is_and_and_when_both_are)
    breaks(test_they_distribute_absorb_and_repeat_without_effect)


def test_an_order_that_matters_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Joined.ending
    monkeypatch.setattr(Joined, "ending", lambda self, m: m and self.parts[0].ending(m[0]) and right(self, m))
    breaks(test_brackets_and_order_do_not_matter)


def test_a_condition_that_takes_itself_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Leaf, memory: Any, now: Conversation) -> Any:
        own, why = self.step(None if memory is None else memory["own"], now)
        return {"own": own, "why": why}

    monkeypatch.setattr(Leaf, "take", forgetful)
    breaks(test_a_stopped_conversation_stays_stopped)


def test_a_memory_that_is_not_plain_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Leaf.take
    monkeypatch.setattr(Leaf, "take", lambda self, memory, now: right(self, memory, now) | {"at": (now.turns,)})
    breaks(test_the_memory_is_plain_data_and_the_same_after_a_resume)


def test_an_end_without_words_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Leaf.ending
    monkeypatch.setattr(Leaf, "ending", lambda self, m: right(self, m) and condition.Ending(("",), self.kind))
    breaks(test_it_says_in_words_why_it_ended)


def test_a_memory_that_grows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Leaf.take

    def hoarding(self: Leaf, memory: Any, now: Conversation) -> Any:
        return right(self, memory, now) | {"all": [*((memory or {}).get("all", [])), now.text]}

    monkeypatch.setattr(Leaf, "take", hoarding)
    breaks(test_memory_does_not_grow_with_the_conversation)


# What each one means


@pytest.mark.parametrize(
    ("what", "said", "why"),
    [
        (max_turns(2), [("ann", "x"), ("bob", None)], "2 turn(s) were taken"),
        (max_messages(2), [("ann", "x"), ("bob", None)], ""),
        (text_mention("done"), [("ann", "undone, DONE")], ""),
        (text_mention("done"), [("ann", "we are done.")], "ann said 'done'"),
        (text_mention("(a+b)"), [("ann", "so (a+b) it is")], "ann said '(a+b)'"),
        (said_by("bob", "adopted"), [("ann", "adopted"), ("bob", "rejected")], ""),
        (said_by("bob"), [("ann", "x"), ("bob", None)], ""),
        (said_by("bob"), [("bob", "long " * 40)], "bob said '" + ("long " * 40)[:79] + "…'"),
        (token_budget(1000), [("ann", "x")] * 66, ""),
        (token_budget(1000), [("ann", "x")] * 67, "1,005 tokens were used, 1,000 were given"),
        (wall_time(7.5), [("ann", "x")] * 2, "10 s have passed, 7.5 were given"),
        (agreement(), [("ann", "yes"), ("bob", "yes")], ""),
        (
            agreement(),
            [("ann", "yes"), ("bob", "Yes!"), ("eve", "no"), ("eve", " YES ")],
            "ann, bob, eve agree: ' YES '",
        ),
        (agreement(2), [("ann", "yes"), ("bob", "no"), ("ann", "no")], "ann, bob agree: 'no'"),
        (agreement(2, same=len), [("ann", "abc"), ("bob", "xyz")], "ann, bob agree: 'xyz'"),  # type: ignore[arg-type]
        (said_by("ann") & said_by("bob"), [("ann", "x"), ("eve", "y"), ("bob", "z")], "ann said 'x'; bob said 'z'"),
        (said_by("ann") | max_turns(1), [("ann", "x")], "ann said 'x'; 1 turn(s) were taken"),
    ],
)
def test_it_ends_when_it_should_and_says_why(what: Condition, said: Any, why: str) -> None:
    assert end_of(what, *said) == why


def test_plain_functions_compose_from_both_sides() -> None:
    def late(now: Conversation) -> bool:
        return now.turns > 1

    for what in (late | max_turns(9), max_turns(9) | late):
        assert end_of(what, ("ann", "x"), ("bob", "y")) == "late holds"
    for what in (late & max_turns(1), max_turns(1) & late):
        assert sorted(end_of(what, ("ann", "x"), ("bob", "y")).split("; ")) == ["1 turn(s) were taken", "late holds"]


def test_a_goal_that_was_met_outweighs_a_bound_that_was_reached() -> None:
    both = (said_by("ann") | max_turns(1)).take(None, conversations([("ann", "x", False)])[0])
    end = (said_by("ann") | max_turns(1)).ending(both)
    assert end is not None
    assert end.kind == "goal"
    assert (external() | max_turns(1)).kinds == {"stop", "bound"}


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (lambda: max_turns(0), "max_turns: 0 is no bound"),
        (lambda: max_messages(-1), "max_messages"),
        (lambda: token_budget(0), "token_budget"),
        (lambda: wall_time(0), "wall_time"),
        (lambda: text_mention("  "), "the text is empty"),
        (lambda: agreement(1), "one alone cannot agree"),
        (lambda: max_turns(1) | 7, "7 ends no conversation"),
    ],
)
def test_a_condition_that_means_nothing_is_refused(made: Any, fault: str) -> None:
    with pytest.raises(ContractError, match=fault):
        made()


@given(st.text())
def test_plain_text_is_its_own_plain_text(text: str) -> None:
    assert plain(plain(text)) == plain(text)


async def test_a_stop_is_heard_by_whoever_began_before_it(memory: Persistence) -> None:
    await stop(memory.store, "t")
    assert await stopped(memory.store, "t", since=0.0) == "no reason given"
    assert await stopped(memory.store, "t", since=4e9) == ""
    assert await stopped(memory.store, "other", since=0.0) == ""
    assert await stopped(None, "t", since=0.0) == ""
