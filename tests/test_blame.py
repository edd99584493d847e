"""A failure in one line: the way down to it, whose it was, and what it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.agent import Failure
from state.blame import blamed, passed_up, says

NAMES = st.sampled_from(["a", "b2", "team_of_three", "writer"])


def team(owner: str = "receiver") -> Failure:
    return Failure(kind="NestedFailure", message="no answer", owner=owner, at="team")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reason", "line", "owner"),
    [
        ("author: out of ink", "team > author: out of ink", "receiver"),
        ("author (environment): no answer in time", "team > author (environment): no answer in time", "environment"),
        ("a > b (environment): x: y", "team > a > b (environment): x: y", "environment"),
        ("author (sender): no goal", "team > author: no goal", "receiver"),
        ("nobody answered", "team: nobody answered", "receiver"),
        ("Two of three failed: a, b", "team: Two of three failed: a, b", "receiver"),
    ],
)
def test_a_nested_failure_says_the_way_down_and_keeps_what_the_environment_did(
    reason: str, line: str, owner: str
) -> None:
    fault = passed_up(team(), reason)
    assert (blamed(fault), fault.owner) == (line, owner)


@given(st.lists(NAMES, min_size=1, max_size=5), st.sampled_from(["receiver", "environment"]), st.text(min_size=1))
def test_a_line_passed_up_level_by_level_names_every_level_once(names: list[str], owner: str, message: str) -> None:
    *above, last = names
    fault = Failure(kind="X", message=message, owner=owner, at=last)  # type: ignore[arg-type]
    for name in reversed(above):
        fault = passed_up(Failure(kind="X", message="no answer", owner="receiver", at=name), blamed(fault))
    assert fault.at == " > ".join(names)
    assert (fault.message, fault.owner) == (message, owner)
    assert says(names[0], blamed(fault))
