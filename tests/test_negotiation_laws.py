"""Laws of alternating offers, of strategies and of interests; each is shown to fail once its rule is broken."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from laws import breaks

from benchmarks import negotiation as simulation
from state import concession, interests, offers
from state.concession import View, boulware, conceder, curve, linear, tit_for_tat
from state.errors import ContractError
from state.interests import Interests, acceptable, concedes, deals, efficient, suited, utility

ISSUES = {"price": [100, 120, 130], "days": [1, 2, 3]}
DEALS = deals(ISSUES)
PEOPLE = ("ann", "bob", "cy")
WANTS = st.fixed_dictionaries({"price": st.sampled_from(["high", "low"]), "days": st.sampled_from(["high", "low"])})
STRATEGIES = st.sampled_from([boulware(), linear(), conceder(), tit_for_tat(), curve(2)])
INTERESTS = st.builds(
    Interests,
    prefers=WANTS,
    weights=st.fixed_dictionaries({"price": st.integers(1, 4), "days": st.integers(0, 4)}),
    reservation=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    limits=st.sampled_from([{}, {"price": 120}]),
)


class ATableOfAlternatingOffers(RuleBasedStateMachine):
    """Any moves by anybody: what must not happen does not, and what is refused changes nothing."""

    monotonic = True

    def __init__(self) -> None:
        super().__init__()
        self.people = PEOPLE[:2]
        self.wants = {
            "ann": Interests(prefers={"price": "high", "days": "low"}),
            "bob": Interests(prefers={"price": "low", "days": "low"}),
        }
        self.table = offers.opened(self.people, rounds=4)
        self.made: list[tuple[str, dict[str, Any]]] = []
        self.end = ""

    def play(self, who: str, move: dict[str, Any]) -> None:
        before = self.table

        def better(old: Any, new: Any) -> bool:
            return concedes(old, new, ISSUES, [w for n, w in self.wants.items() if n != who])

        self.table = offers.moved(before, who, move, concedes=better if self.monotonic else None)
        refused = len(self.table["refused"]) > len(before["refused"])
        if refused:
            assert {**self.table, "refused": []} == {**before, "refused": []}
            return
        assert who in self.people
        assert before["status"] == "open", "a closed table stays closed"
        if move["kind"] != "withdraw":
            assert [n for n, _ in self.made] == [self.people[i % 2] for i in range(len(self.made))]
            assert who == self.people[len(self.made) % 2], "strict turns"
            self.made.append((who, move))
        if move["kind"] == "accept":
            assert before["offers"]
            latest = before["offers"][-1]
            assert move["offer"] == latest["n"], "only the latest offer is accepted"
            assert latest["by"] != who

    @rule(who=st.sampled_from(PEOPLE), terms=st.sampled_from(DEALS))
    def offer(self, who: str, terms: dict[str, Any]) -> None:
        self.play(who, {"kind": "offer", "terms": terms})

    @rule(terms=st.sampled_from(DEALS))
    def offer_in_turn(self, terms: dict[str, Any]) -> None:
        self.play(offers.turn_of(self.table), {"kind": "offer", "terms": terms})

    @precondition(lambda self: len(self.made) > 2)
    @rule(who=st.sampled_from(PEOPLE), back=st.integers(0, 2))
    def accept(self, who: str, back: int) -> None:
        self.play(who, {"kind": "accept", "offer": len(self.table["offers"]) - back})

    @rule()
    def hold(self) -> None:
        self.play(offers.turn_of(self.table), {"kind": "pass"})

    @precondition(lambda self: len(self.made) > 3)
    @rule(who=st.sampled_from(PEOPLE), first=st.sampled_from(["accept", "withdraw"]))
    def withdraw_races_accept(self, who: str, first: str) -> None:
        taking = {"kind": "accept", "offer": len(self.table["offers"])}
        moves = [(offers.turn_of(self.table), taking), (who, {"kind": "withdraw"})]
        was = self.table["status"]
        for mover, move in moves if first == "accept" else moves[::-1]:
            self.play(mover, move)
            if was == "open" and not self.end and self.table["status"] != "open":
                self.end = self.table["status"]

    @invariant()
    def it_ends_once_and_by_the_deadline(self) -> None:
        if self.end:
            assert self.table["status"] == self.end, "one end"
        if self.table["status"] != "open":
            self.end = self.table["status"]
        assert len(self.made) <= 8
        if len(self.made) == 8:
            assert self.table["status"] in ("agreed", "withdrawn", "no deal")
        if self.table["status"] == "agreed":
            assert self.made[-1][1]["kind"] == "accept"

    @invariant()
    def no_offer_is_worse_for_the_other_than_the_last(self) -> None:
        for who in self.people if self.monotonic else ():
            (other,) = (w for n, w in self.wants.items() if n != who)
            worth = [utility(o["terms"], ISSUES, other) for o in self.table["offers"] if o["by"] == who]
            assert worth == sorted(worth)


class ATableWithoutMonotony(ATableOfAlternatingOffers):
    """The same, where offers may also be taken back."""

    monotonic = False


TestTable = ATableOfAlternatingOffers.TestCase
TestFreeTable = ATableWithoutMonotony.TestCase
TestTable.settings = TestFreeTable.settings = settings(stateful_step_count=24)


def played(minds: Any, wants: Any, rounds: int) -> dict[str, Any]:
    """Strategies against each other, without the engine."""
    names = PEOPLE[: len(minds)]
    table = offers.opened(names, rounds)
    for _ in range(rounds * len(names)):
        if table["status"] != "open":
            break
        who = names.index(offers.turn_of(table))
        view = View(
            me=names[who],
            issues=ISSUES,
            interests=wants[who],
            offers=table["offers"],
            round=offers.round_of(table),
            rounds=rounds,
        )
        table = offers.moved(table, names[who], minds[who].move(view))
        assert table["refused"] == [], "a strategy makes no move that is refused"
    return table


SIDES = st.integers(2, 3).flatmap(
    lambda n: st.tuples(st.lists(STRATEGIES, min_size=n, max_size=n), st.lists(INTERESTS, min_size=n, max_size=n))
)


@given(SIDES, st.integers(1, 5))
def test_strategies_end_by_the_deadline_and_agree_only_within_every_reservation(sides: Any, rounds: int) -> None:
    minds, wants = sides
    table = played(minds, wants, rounds)
    assert table["status"] in ("agreed", "withdrawn", "no deal")
    assert table["moves"] <= rounds * len(minds)
    if table["status"] == "agreed":
        terms = offers.latest(table)["terms"]  # type: ignore[index]
        for mine in wants:
            assert acceptable(terms, ISSUES, mine)
            assert utility(terms, ISSUES, mine) >= mine.reservation
    for offer in table["offers"]:
        assert acceptable(offer["terms"], ISSUES, wants[PEOPLE.index(offer["by"])])


@given(SIDES)
def test_a_finite_set_of_deals_is_proposed_to_its_end_by_the_mediator(sides: Any) -> None:
    _, wants = sides
    table = {**offers.opened(PEOPLE[: len(wants)], 1), "status": "no deal"}
    possible = [d for d in DEALS if all(acceptable(d, ISSUES, mine) for mine in wants)]
    for _ in range(len(DEALS) + 1):
        terms = concession.compromise(ISSUES, table["offers"])
        if terms is None or table["status"] == "agreed":
            break
        table = offers.proposed(table, terms)
        while table["status"] == "mediation":
            who = offers.answering(table)
            table = offers.answered(table, who, acceptable(terms, ISSUES, wants[PEOPLE.index(who)]))
    seen = [str(o["terms"]) for o in table["offers"]]
    assert len(seen) == len(set(seen)) <= len(DEALS)
    assert (table["status"] == "agreed") is bool(possible)
    if possible:
        assert table["offers"][-1]["terms"] in possible


@given(INTERESTS, st.sampled_from([boulware(), linear(), conceder()]), st.integers(2, 3))
def test_a_concession_curve_never_asks_for_more_than_before(mine: Interests, mind: Any, rounds: int) -> None:
    mine = mine.model_copy(update={"limits": {}})
    aims = []
    for now in range(1, rounds + 1):
        view = View(me="ann", issues=ISSUES, interests=mine, offers=[], round=now, rounds=rounds)
        good = suited(ISSUES, mine)
        move = mind.move(view)
        if not good:
            assert move["kind"] == "withdraw"
            return
        took = [worth for deal, worth in good[::2] if mind.move(view_of(view, deal))["kind"] == "accept"]
        aims.append(min(took, default=1.0))
    assert aims == sorted(aims, reverse=True)
    assert aims[-1] == min(worth for _, worth in suited(ISSUES, mine)[::2])


def view_of(view: View, deal: Any) -> View:
    return replace(view, offers=[{"n": 1, "by": "bob", "terms": deal}])


@given(st.lists(st.sampled_from(DEALS), min_size=1, max_size=6), INTERESTS, INTERESTS)
def test_a_deal_is_efficient_exactly_when_no_offer_dominates_it(made: Any, one: Interests, other: Interests) -> None:
    worth = [{"ann": utility(d, ISSUES, one), "bob": utility(d, ISSUES, other)} for d in made]
    sums = max(worth, key=lambda w: (w["ann"] + w["bob"], w["ann"]))
    assert efficient(sums, worth)
    for mine in worth:
        dominated = any(o["ann"] >= mine["ann"] and o["bob"] >= mine["bob"] and o != mine for o in worth)
        assert efficient(mine, worth) is not dominated


# Every law fails once its rule is broken


def without(*words: str) -> Any:
    """`refusal`, deaf to some of its reasons."""
    real = offers.refusal

    def lenient(table: Any, party: str, move: Any, *, concedes: Any = None) -> str:
        why = real(table, party, move, concedes=concedes)
        return "" if any(word in why for word in words) else why

    return lenient


BROKEN = {
    "turns": ("the turn of",),
    "latest": ("only the latest",),
    "own": ("who made it",),
    "monotony": ("worse for another",),
    "closed, so that a withdrawal and an acceptance both win": ("closed",),
    "strangers": ("is no party",),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_table_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "refusal", without(*BROKEN[name]))
    breaks(ATableOfAlternatingOffers)


def test_a_table_without_a_deadline_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = offers.moved

    def endless(table: Any, *args: Any, **options: Any) -> Any:
        after = real({**table, "rounds": 99}, *args, **options)
        return {**after, "rounds": table["rounds"]}

    monkeypatch.setattr(offers, "moved", endless)
    breaks(ATableOfAlternatingOffers)


def test_a_strategy_that_forgets_its_reservation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concession, "reaches", lambda view, terms, target: view.worth(terms) >= target - 0.5)
    breaks(test_strategies_end_by_the_deadline_and_agree_only_within_every_reservation)


def test_a_mediator_that_repeats_itself_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concession, "compromise", lambda issues, made: DEALS[len(made) % 5])
    breaks(test_a_finite_set_of_deals_is_proposed_to_its_end_by_the_mediator)


def test_a_curve_that_asks_for_more_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(View, "time", property(lambda self: (self.round % 3) / 3))
    breaks(test_a_concession_curve_never_asks_for_more_than_before)


def test_an_efficiency_that_sees_one_side_only_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def onesided(mine: Any, others: Any) -> bool:
        return all(o["ann"] <= mine["ann"] for o in others)

    monkeypatch.setitem(globals(), "efficient", onesided)
    breaks(test_a_deal_is_efficient_exactly_when_no_offer_dominates_it)


# Single cases


def test_three_parties_agree_only_when_all_others_accept_the_same_offer() -> None:
    table = offers.opened(PEOPLE, 3)
    terms = {"price": 100, "days": 1}
    table = offers.moved(table, "ann", {"kind": "offer", "terms": terms})
    table = offers.moved(table, "bob", {"kind": "accept", "offer": 1})
    table = offers.moved(table, "cy", {"kind": "offer", "terms": {"price": 120, "days": 1}})
    assert (table["status"], table["accepted"]) == ("open", [])
    for who in ("ann", "bob"):
        table = offers.moved(table, who, {"kind": "accept", "offer": 2})
    assert (table["status"], table["by"]) == ("agreed", "bob")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_a_withdrawal_and_an_acceptance_the_first_stands(order: Any) -> None:
    table = offers.moved(offers.opened(PEOPLE[:2], 3), "ann", {"kind": "offer", "terms": DEALS[0]})
    moves = [("bob", {"kind": "accept", "offer": 1}), ("ann", {"kind": "withdraw"})]
    for at in order:
        table = offers.moved(table, *moves[at])
    assert table["status"] == ("agreed", "withdrawn")[order[0]]
    assert "the table is closed" in table["refused"][0]


def test_an_answer_that_the_mediator_did_not_ask_for_is_refused() -> None:
    table = offers.proposed(offers.opened(PEOPLE[:2], 1), DEALS[0])
    assert offers.answered(table, "bob", True)["refused"] == ["bob: no answer is asked of it"]


def test_tit_for_tat_gives_what_it_was_given_and_a_little_more() -> None:
    mine = Interests(prefers={"price": "high", "days": "low"})

    def aim(*prices: int) -> float:
        theirs = [{"n": 2 * n + 2, "by": "bob", "terms": {"price": p, "days": 1}} for n, p in enumerate(prices)]
        own = {"n": 1, "by": "ann", "terms": {"price": 130, "days": 1}}
        view = View(me="ann", issues=ISSUES, interests=mine, offers=[own, *theirs], round=3, rounds=9)
        move = tit_for_tat().move(view)
        return view.worth(move.get("terms") or theirs[-1]["terms"])

    assert aim(100, 100) > aim(100, 120)


@pytest.mark.parametrize(
    ("wants", "fault"),
    [
        ({"prefers": {"price": "high"}}, "every issue"),
        ({"prefers": {"price": "high", "days": [1, 2]}}, "every value of 'days'"),
        ({"prefers": {"price": "high", "days": {"1": 1, "2": 0}}}, "what it is worth"),
        ({"prefers": {"price": "high", "days": "low"}, "weights": {"colour": 1}}, "weight of 'colour'"),
        ({"prefers": {"price": "high", "days": "low"}, "weights": {"price": 0, "days": 0}}, "all weights are 0"),
        ({"prefers": {"price": "high", "days": "low"}, "limits": {"price": 99}}, "limit of 'price'"),
    ],
)
def test_interests_that_do_not_fit_are_told(wants: Any, fault: str) -> None:
    assert fault in interests.unfit(Interests.model_validate(wants), ISSUES)


@pytest.mark.parametrize(
    ("issues", "fault"),
    [
        ({}, "no issue"),
        ({"a": [1]}, "two values"),
        ({"a": [1, 1]}, "each once"),
        ({"a": "xy"}, "a list"),
        ({"a": list(range(80)), "b": list(range(80))}, "6,400 deals"),
    ],
)
def test_issues_that_cannot_be_negotiated_are_told(issues: Any, fault: str) -> None:
    assert fault in interests.unsound(issues)


def test_values_can_be_ranked_or_priced() -> None:
    colours = {"colour": ["red", "green", "blue"]}
    ranked = Interests(prefers={"colour": ["blue", "red", "green"]})
    priced = Interests(prefers={"colour": {"red": 0.1, "green": 0.9, "blue": 0.2}})
    assert [utility({"colour": c}, colours, ranked) for c in ("blue", "red", "green")] == [1, 0.5, 0]
    assert utility({"colour": "green"}, colours, priced) == 0.9


def test_a_curve_without_a_slope_is_refused() -> None:
    with pytest.raises(ContractError, match="`beta`"):
        curve(0)


def test_simulated_strategies_find_most_deals_and_better_ones_than_a_lot(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CASES", 6), ("WHOLE", 1), ("ROUNDS", 8)):
        monkeypatch.setattr(simulation, name, value)
    rows, (edge, _), same = simulation.rows()
    assert same
    assert sum(row[2] for row in rows) / len(rows) > 0.7
    assert sum(row[3] for row in rows) / len(rows) < edge
