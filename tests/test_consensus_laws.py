"""Laws of ballots and voting rules, without the engine; each is shown to fail once its rule is broken."""

import random
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from laws import breaks

from benchmarks import voting as simulation
from state import ballot, consensus, runoff, voting
from state.ballot import Box, alike, read
from state.errors import ContractError
from state.voting import Count, Rule

OPTIONS = ("ale", "beer", "cider", "dew")
ORDERS = list(permutations(OPTIONS))
RULES = [
    voting.plurality(),
    voting.majority(),
    voting.majority(of="eligible"),
    voting.supermajority(),
    voting.unanimous(),
    voting.weighted(),
    voting.weighted({"v0": 3, "v1": 2}),
    voting.borda(),
    voting.instant_runoff(),
    voting.approval(),
    voting.byzantine(1),
]
rules = pytest.mark.parametrize("used", RULES, ids=lambda r: f"{r.name}-{r.threshold.of}")


def a_vote(draw: Any, at: int, abstaining: bool = True) -> dict[str, Any]:
    order = draw(st.sampled_from(ORDERS))
    return {
        "voter": f"v{at}",
        "agent": f"v{at}",
        "abstain": abstaining and draw(st.integers(0, 4)) == 0,
        "choice": order[0],
        "ranking": list(order),
        "approved": list(order)[: draw(st.integers(1, 4))],
        "confidence": draw(st.sampled_from([None, 0.0, 0.25, 0.5, 1.0])),
    }


@st.composite
def electorates(draw: Any) -> list[dict[str, Any]]:
    return [a_vote(draw, n) for n in range(draw(st.integers(0, 7)))]


def counted(used: Rule, votes: Any, **options: Any) -> Count:
    return voting.count(used, votes, OPTIONS, eligible=max(len(votes), 1), **options)


def came_to(found: Count) -> Any:
    return found.decision, set(found.leading), found.votes, found.of, dict(found.tally), found.cast, found.abstained


def law_of_order(votes: list[dict[str, Any]], dice: random.Random) -> None:
    shuffled = dice.sample(votes, len(votes))
    for used in RULES:
        assert came_to(counted(used, votes)) == came_to(counted(used, shuffled))


@given(electorates(), st.randoms(use_true_random=False))
def test_the_order_in_which_votes_come_never_matters(votes: Any, dice: random.Random) -> None:
    law_of_order(votes, dice)


@given(electorates(), st.permutations(OPTIONS))
def test_no_option_is_favoured_by_its_name_or_place(votes: Any, names: list[str]) -> None:
    new = dict(zip(OPTIONS, names, strict=True))
    renamed = [
        {
            **v,
            "choice": new[v["choice"]],
            "ranking": [new[o] for o in v["ranking"]],
            "approved": [new[o] for o in v["approved"]],
        }
        for v in votes
    ]
    for used in RULES:
        before, after = counted(used, votes), counted(used, renamed)
        assert after.decision == (None if before.decision is None else new[before.decision])
        assert set(after.leading) == {new[o] for o in before.leading}
        assert after.votes == before.votes or len(before.leading) > 1


@given(electorates(), st.integers(0, 3))
def test_an_abstention_is_not_a_vote_cast(votes: Any, more: int) -> None:
    cast = [v for v in votes if not v["abstain"]]
    idle = [{"voter": f"idle{n}", "agent": "x", "abstain": True} for n in range(more)]
    for used in RULES:
        if used.threshold.of == "cast":
            alone, beside = counted(used, cast), counted(used, [*cast, *idle])
            assert (alone.decision, alone.tally, alone.of) == (beside.decision, beside.tally, beside.of)
            assert (beside.cast, beside.abstained) == (len(cast), more)


@given(electorates(), st.integers(1, 10))
def test_without_a_quorum_nothing_is_decided(votes: Any, quorum: int) -> None:
    for used in RULES:
        found = counted(used, votes, quorum=quorum)
        assert found.cast == sum(not v["abstain"] for v in votes)
        assert found.decision is None or found.cast >= quorum


@given(electorates(), st.permutations(OPTIONS))
def test_a_tie_decides_nothing_without_an_order_and_goes_to_its_first_with_one(votes: Any, order: list[str]) -> None:
    for used in RULES:
        free, ordered = counted(used, votes), counted(used, votes, order=order)
        if len(free.leading) > 1:
            assert free.decision is None
            assert ordered.decision in (None, min(free.leading, key=order.index))
        else:
            assert ordered.decision == free.decision


@given(st.integers(0, 7), st.integers(0, 7), st.integers(0, 7), st.sampled_from(["1/2", "2/3", "3/4", "1"]))
def test_thresholds_are_exact_in_whole_numbers(yes: int, no: int, idle: int, share: str) -> None:
    votes = [
        {"voter": str(n), "agent": "", "abstain": n >= yes + no, "choice": "ale" if n < yes else "beer"}
        for n in range(yes + no + idle)
    ]
    bar = Fraction(share)
    for of, whole in (("cast", yes + no), ("eligible", yes + no + idle)):
        strict = bar == Fraction(1, 2)
        used = voting.majority(of=of) if strict else voting.supermajority(share, of=of)  # type: ignore[arg-type]
        found = voting.count(used, votes, OPTIONS, eligible=yes + no + idle)
        points = yes * bar.denominator - bar.numerator * whole
        enough = yes > 0 and (points > 0 if strict else points >= 0)
        assert (found.decision == "ale") is (enough and yes != no)


@given(electorates())
def test_a_borda_count_gives_all_its_points_and_only_to_complete_rankings(votes: Any) -> None:
    found = counted(voting.borda(), votes)
    m = len(OPTIONS)
    assert sum(found.tally.values()) == found.cast * m * (m - 1) // 2
    for v in votes:
        said = {"ranking": v["ranking"][:-1]}
        assert "ranks 3 of 4" in consensus.faulty(said, voting.borda(), OPTIONS, None)
        assert consensus.faulty({"ranking": v["ranking"]}, voting.borda(), OPTIONS, None) == ""


@st.composite
def rankings(draw: Any) -> list[dict[str, Any]]:
    votes = [a_vote(draw, n, abstaining=False) for n in range(draw(st.integers(1, 7)))]
    return [{**v, "ranking": v["ranking"][: draw(st.integers(1, 4))]} for v in votes]


@given(rankings())
def test_every_ballot_of_a_runoff_counts_once_a_stage_or_is_exhausted(votes: Any) -> None:
    found = counted(voting.instant_runoff(), votes)
    before = -1
    for stage in found.stages:
        assert sum(stage["tally"].values()) + stage["exhausted"] == len(votes)
        assert stage["exhausted"] >= before
        before = stage["exhausted"]
    if found.decision is not None:
        assert 2 * found.votes > found.of
        assert found.of == len(votes) - before


@given(rankings())
def test_who_has_more_than_half_of_the_first_places_wins_a_runoff_at_once(votes: Any) -> None:
    firsts = [v["ranking"][0] for v in votes]
    found = counted(voting.instant_runoff(), votes)
    for option in OPTIONS:
        if 2 * firsts.count(option) > len(votes):
            assert (found.decision, len(found.stages)) == (option, 1)
        if found.decision == option:  # and who wins beats the last of the others on these ballots
            assert option in {o for v in votes for o in v["ranking"]}


@given(st.integers(0, 4), st.integers(0, 6), st.data())
def test_liars_alone_decide_nothing_and_cannot_stop_the_honest(f: int, more: int, data: Any) -> None:
    n = 3 * f + 1 + more
    used = voting.byzantine(f)
    lies = data.draw(st.lists(st.sampled_from([*OPTIONS, None]), min_size=f, max_size=f))
    truths = data.draw(st.lists(st.sampled_from(OPTIONS), min_size=n - f, max_size=n - f))
    for honest in (truths, ["ale"] * (n - f)):
        said = [*lies, *honest]
        votes = [
            {"voter": str(i), "agent": "", "abstain": o is None, "choice": o or "", "confidence": None}
            for i, o in enumerate(said)
        ]
        found = voting.count(used, votes, OPTIONS, eligible=n)
        if found.decision is not None:
            assert honest.count(found.decision) >= f + 1
        if set(honest) == {"ale"}:
            assert found.decision == "ale"


class ABoxTakesOneBallotAVoterAnEpoch(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.box, self.first = Box(("ann", "bob", "cy")), {}  # type: ignore[var-annotated]

    @rule(
        voter=st.sampled_from(["ann", "bob", "cy", "mallory"]),
        epoch=st.integers(0, 2),
        choice=st.sampled_from(OPTIONS),
    )
    def vote(self, voter: str, epoch: int, choice: str) -> None:
        refused = len(self.box.refused)
        self.box = ballot.cast(self.box, {"voter": voter, "choice": choice}, epoch=epoch)
        if voter != "mallory" and epoch == 1 and voter not in self.first:
            self.first[voter] = choice
        else:
            assert len(self.box.refused) == refused + 1
            assert self.box.refused[-1].startswith(voter)

    @invariant()
    def the_first_ballot_of_each_eligible_voter_stands(self) -> None:
        assert {v: x["choice"] for v, x in self.box.votes.items()} == self.first
        assert self.box.electorate == ("ann", "bob", "cy")


TestBox = ABoxTakesOneBallotAVoterAnEpoch.TestCase
TestBox.settings = settings(stateful_step_count=12)


# Every law fails once its rule is broken


def score(change: Any) -> Any:
    real = voting.count

    def broken(used: Rule, votes: Any, *args: Any, **options: Any) -> Count:
        return change(real, used, votes, *args, **options)

    return broken


BROKEN = {
    "order": (
        test_the_order_in_which_votes_come_never_matters,
        lambda real, used, votes, *a, **k: replace(
            real(used, votes, *a, **k), votes=len(votes and votes[0]["approved"])
        ),
    ),
    "names": (
        test_no_option_is_favoured_by_its_name_or_place,
        lambda real, used, votes, *a, **k: real(used, votes, *a, **{**k, "order": sorted(OPTIONS)}),
    ),
    "abstention": (
        test_an_abstention_is_not_a_vote_cast,
        lambda real, used, votes, *a, **k: replace(real(used, votes, *a, **k), cast=len(votes)),
    ),
    "quorum": (
        test_without_a_quorum_nothing_is_decided,
        lambda real, used, votes, *a, **k: real(used, votes, *a, **{**k, "quorum": 1}),
    ),
    "tie": (
        test_a_tie_decides_nothing_without_an_order_and_goes_to_its_first_with_one,
        lambda real, used, votes, *a, **k: real(used, votes, *a, **{"order": OPTIONS, **k}),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_count_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    law, change = BROKEN[name]
    monkeypatch.setattr(voting, "count", score(change))
    breaks(law)


def test_an_inexact_threshold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(self: Any, points: int, of: int) -> bool:
        return points >= max(1, round(of * float(self.share)))

    monkeypatch.setattr(voting.Threshold, "holds", rounded)
    breaks(test_thresholds_are_exact_in_whole_numbers)


def test_a_ranking_that_may_be_incomplete_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus, "faulty", lambda said, used, options, key: read(said, used.reads, options, key)[1])
    breaks(test_a_borda_count_gives_all_its_points_and_only_to_complete_rankings)


def test_a_runoff_that_forgets_exhausted_ballots_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = voting._runoff

    def forgetful(votes: Any, options: Any) -> voting.Scores:
        found = real(votes, options)
        return replace(found, stages=tuple({**stage, "exhausted": 0} for stage in found.stages))

    monkeypatch.setattr(voting, "_runoff", forgetful)
    breaks(test_every_ballot_of_a_runoff_counts_once_a_stage_or_is_exhausted)


def test_a_runoff_that_ignores_a_majority_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = runoff._stage

    def stubborn(votes: Any, options: Any, left: Any, winners: Any) -> Any:
        return real([{**v, "ranking": v["ranking"][::-1]} for v in votes], options, left, winners)

    monkeypatch.setattr(runoff, "_stage", stubborn)
    breaks(test_who_has_more_than_half_of_the_first_places_wins_a_runoff_at_once)


def test_too_few_matching_ballots_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voting, "byzantine", lambda f: replace(voting.plurality(), voters=3 * f + 1))
    breaks(test_liars_alone_decide_nothing_and_cannot_stop_the_honest)


def test_a_box_that_takes_a_second_ballot_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def stuffed(box: Box, vote: Any, *, epoch: int) -> Box:
        return replace(box, votes={**box.votes, vote["voter"]: vote})

    monkeypatch.setattr(ballot, "cast", stuffed)
    breaks(ABoxTakesOneBallotAVoterAnEpoch)


# Single cases


def ranked(*lists: str) -> list[dict[str, Any]]:
    return [{"voter": str(n), "abstain": False, "ranking": line.split()} for n, line in enumerate(lists)]


def test_a_runoff_gives_ballots_to_their_next_option() -> None:
    votes = ranked("ale", "ale", "beer cider", "cider beer", "cider beer")
    found = voting.count(voting.instant_runoff(), votes, ["ale", "beer", "cider"], eligible=5)
    assert (found.decision, found.votes, found.of) == ("cider", 3, 5)
    assert [stage["out"] for stage in found.stages] == [["beer"], []]


def test_a_tie_for_last_place_does_not_decide_a_runoff_by_the_order_of_dropping() -> None:
    votes = ranked("ale", "ale", "ale", "beer cider", "beer cider", "cider beer", "cider beer")
    found = voting.count(voting.instant_runoff(), votes, ["ale", "beer", "cider"], eligible=7)
    assert (found.decision, found.leading, found.why) == (None, ("beer", "cider"), "a tie of 2 options")


@pytest.mark.parametrize(
    ("said", "reads", "chosen"),
    [
        ({"text": " ALE. "}, "choice", "ale"),
        ({"text": "The handbook says that ale is served."}, "choice", "ale"),
        ({"text": "ale or beer"}, "choice", ""),
        ({"text": "pale"}, "choice", ""),
        ({"choice": "Beer"}, "choice", "beer"),
        ({"choice": "the beer"}, "choice", ""),
        ({"ranking": ["Beer", "ale"]}, "ranking", ["beer", "ale"]),
        ({"approved": ["ale."]}, "approved", ["ale"]),
    ],
)
def test_a_ballot_is_read_as_it_stands(said: Any, reads: Any, chosen: Any) -> None:
    vote, fault = read(said, reads, OPTIONS)
    assert vote[reads] == chosen
    assert bool(fault) is not bool(chosen)


def test_a_text_that_says_abstain_abstains() -> None:
    assert read({"text": "Abstain."}, "choice", OPTIONS)[0]["abstain"]
    assert read({"abstain": True, "choice": "x"}, "choice", OPTIONS) == (
        read({"abstain": True}, "choice", ())[0],
        "",
    )
    assert alike(" Two  words! ") == "two words"


@pytest.mark.parametrize("reads", ["ranking", "approved"])
def test_a_list_with_a_stranger_a_double_or_nothing_in_it_is_spoiled(reads: Any) -> None:
    faults = [read({reads: given}, reads, OPTIONS)[1] for given in (["gin"], ["ale", "Ale"], [])]
    assert faults == ["'gin' is no option", "it names an option twice", "it names no option"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: voting.supermajority("1/2"), "above 1/2"),
        (lambda: voting.supermajority("x"), "'2/3'"),
        (lambda: voting.weighted({"a": -1}), "'a'"),
        (lambda: voting.byzantine(-1), "`f`"),
    ],
)
def test_impossible_rules_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


def test_a_key_that_finds_nothing_spoils_the_ballot() -> None:
    vote, fault = read({"text": "no number here"}, "choice", (), lambda text: text.split("=")[1])
    assert (vote["choice"], fault) == ("", "'no number here' says nothing")


def test_a_simulated_majority_is_as_often_right_as_the_binomial_formula_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TRIALS", 300), ("VOTERS", (1, 3, 11, 25)), ("WHOLE", 5)):
        monkeypatch.setattr(simulation, name, value)
    rows = simulation.rows()
    assert [row for row in rows if not row[-1]] == []
    assert simulation.theory(3, 0.8, 2) == pytest.approx(3 * 0.8**2 * 0.2 + 0.8**3)
