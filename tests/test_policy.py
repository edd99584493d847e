"""Policies by agent and tool: what they mean, as laws."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from state.context import Context
from state.policy import Answer, checked, parsed, policy_for

WORDS = ["auto", "deny", "ask", "ask above amount 100"]
SCOPES = ["clerk.send", "clerk", "send", "*", "other", "other.send", "clerk.other"]
approvals = st.dictionaries(st.sampled_from(SCOPES), st.sampled_from(WORDS))
fallbacks: st.SearchStrategy[Answer] = st.sampled_from(["auto", "ask", "deny"])


def meets(approvals: dict[str, str], fallback: Answer = "ask", args: Any = None, **options: Any) -> Answer:
    return policy_for(approvals, fallback, agent="clerk", tool="send", **options).of(args or {})


@given(approvals, st.sampled_from(WORDS), fallbacks)
def test_the_most_specific_scope_counts_whatever_else_is_said(others: Any, word: str, fallback: Answer) -> None:
    assert meets({**others, "clerk.send": word}, fallback) == parsed(word).of({})


@given(approvals, fallbacks, st.booleans())
def test_scopes_of_others_and_their_order_change_nothing(said: Any, fallback: Answer, undoable: bool) -> None:
    mine = {s: w for s, w in reversed(said.items()) if s in ("clerk.send", "clerk", "send", "*")}
    assert meets(said, fallback, undoable=undoable) == meets(mine, fallback, undoable=undoable)


@given(st.sampled_from(WORDS), st.sampled_from(WORDS))
def test_of_two_that_are_equally_specific_the_stricter_counts(one: str, other: str) -> None:
    order = {"auto": 0, "ask": 1, "deny": 2}
    for amount in (50, 500):
        both = meets({"clerk": one, "send": other}, args={"amount": amount})
        assert order[both] in (order[parsed(p).of({"amount": amount})] for p in (one, other))
        if "deny" in (one, other):
            assert both == "deny"
        elif "ask" in (one, other):
            assert both == "ask"


@given(approvals, fallbacks)
def test_a_tool_that_can_be_undone_waits_only_where_a_scope_names_it(said: Any, fallback: Answer) -> None:
    named = {"send", "clerk.send"} & set(said)
    assert named or meets(said, fallback, undoable=True) == "auto"


@given(st.floats(allow_nan=False) | st.integers(), st.integers(-(10**6), 10**6))
def test_above_a_threshold_a_person_is_asked_and_up_to_it_nobody(amount: float, most: int) -> None:
    policy = parsed(f"ask above amount {most}")
    assert policy.of({"amount": amount}) == ("ask" if amount > most else "auto")


@pytest.mark.parametrize("amount", ["5", None, True, float("nan"), [], {}])
def test_what_is_no_number_is_asked_about(amount: Any) -> None:
    assert parsed("ask above amount 100").of({"amount": amount}) == parsed("ask above amount 100").of({}) == "ask"


def test_all_parts_of_a_policy_are_read() -> None:
    policy = parsed("ask  above amount 99.5 by ann, bob within 3600 else approve")
    assert (policy.argument, policy.above, policy.by) == ("amount", 99.5, ("ann", "bob"))
    assert (policy.within, policy.default) == (3600, "approve")
    assert parsed("ask within 60").default == "reject"


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"send": "perhaps"}, "send: 'perhaps' is no policy: write auto, deny, or ask"),
        ({"send": "ask above amount"}, "send: 'ask above amount' is no policy"),
        ({"send": "deny by ann"}, "send: 'deny by ann' is no policy"),
        ({"send": "ask else reject"}, "send: 'ask else reject' is no policy"),
        ({"a.b.c": "ask"}, "'a.b.c' is no scope: name a TOOL, an AGENT, AGENT.TOOL or \\*"),
        ({"": "ask"}, "'' is no scope"),
    ],
)
def test_a_policy_that_cannot_be_read_is_refused_by_its_scope_with_the_mend(said: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        checked(said)
    with pytest.raises(ValidationError, match=fault):
        Context(approvals=said)
