"""The auctions of a market, without the engine: laws, and that each is found when its rule is broken."""

from typing import Any

import laws
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import auction, market
from state.auction import Pick, allocate, first_price, highest_utility, lowest_cost, reputation, second_price
from state.errors import ContractError
from state.task import Task

# The auctions

NAMES = ("ann", "ben", "cem", "dan")
OFFER = st.fixed_dictionaries(
    {
        "cost": st.integers(0, 4),
        "price": st.none() | st.integers(0, 4),
        "utility": st.sampled_from([0.0, 0.5, 1.0]),
        "confidence": st.sampled_from([0.5, 1.0]),
        "reputation": st.sampled_from([0.25, 0.5, 0.75]),
    }
)


def on_one(least: int) -> Any:
    """Offers on one task, each of another bidder."""
    made = st.dictionaries(st.sampled_from(NAMES), OFFER, min_size=least, max_size=4)
    return made.map(lambda found: [{**offer, "bidder": who} for who, offer in found.items()])


ON_ONE, ON_TWO = on_one(0), on_one(2)
OFFERS = st.dictionaries(st.sampled_from(["t1", "t2", "t3", "t4"]), ON_ONE, max_size=4)
COUNTS = st.fixed_dictionaries({name: st.integers(0, 2) for name in NAMES})
RULES = st.sampled_from(
    [
        lowest_cost(),
        highest_utility(),
        first_price(),
        first_price(selling=True),
        second_price(),
        second_price(reserve=2),
    ]
)
WEIGH = st.sampled_from([0.0, 1.0, 2.0])
FREE, IDLE = dict.fromkeys(NAMES, 1), dict.fromkeys(NAMES, 0)


@given(OFFERS, RULES, COUNTS, COUNTS, WEIGH)
def test_every_task_has_at_most_one_winner_within_its_room_and_none_is_left_over_without_need(
    offers: Any, rule_: Any, room: Any, load: Any, weigh: float
) -> None:
    picks = allocate(offers, rule_, room=room, load=load, weigh=weigh)
    hands = [pick.bidder for pick in picks.values()]
    assert all(hands.count(who) <= room[who] for who in NAMES)
    for task, some in offers.items():
        able = {o["bidder"] for o in some if auction.worth(o, rule_) is not None}
        if task in picks:
            assert picks[task].bidder in able
        else:
            assert all(hands.count(who) == room[who] for who in able)


@given(OFFERS, RULES, COUNTS, COUNTS, WEIGH, st.randoms(use_true_random=False))
def test_the_order_in_which_proposals_come_changes_nothing(
    offers: Any, rule_: Any, room: Any, load: Any, weigh: float, dice: Any
) -> None:
    other = {task: dice.sample(some, len(some)) for task, some in offers.items()}
    assert allocate(offers, rule_, room=room, load=load, weigh=weigh) == allocate(
        other, rule_, room=room, load=load, weigh=weigh
    )


@given(ON_ONE, RULES, COUNTS, COUNTS)
def test_the_best_offer_wins_and_ties_go_to_the_lower_load_and_then_by_name(
    some: Any, rule_: Any, room: Any, load: Any
) -> None:
    picks = allocate({"t": some}, rule_, room=room, load=load)
    able = [(auction.worth(o, rule_), o["bidder"]) for o in some if room[o["bidder"]]]
    able = [(value, who) for value, who in able if value is not None]
    best = min(((-value, load[who], who) for value, who in able), default=None)
    assert [pick.bidder for pick in picks.values()] == ([best[2]] if best else [])


@given(ON_ONE, st.booleans(), st.none() | st.integers(0, 4))
def test_a_second_price_auction_charges_the_second_price(some: Any, selling: bool, reserve: Any) -> None:
    prices = {o["bidder"]: auction.asked(o) for o in some}
    if reserve is not None:
        prices = {w: p for w, p in prices.items() if (p >= reserve if selling else p <= reserve)}
    free = dict.fromkeys(NAMES, 1)
    picks = allocate(
        {"t": some}, second_price(selling=selling, reserve=reserve), room=free, load=dict.fromkeys(NAMES, 0)
    )
    first = allocate(
        {"t": some}, first_price(selling=selling, reserve=reserve), room=free, load=dict.fromkeys(NAMES, 0)
    )
    ranked = sorted(prices.values(), reverse=selling)
    if not ranked:
        assert picks == first == {}
        return
    alone = ranked[0] if reserve is None else reserve
    assert first["t"].price == ranked[0]
    assert picks["t"].price == (ranked[1] if len(ranked) > 1 else alone)
    assert picks["t"].bidder == first["t"].bidder


@given(ON_TWO, WEIGH)
def test_whoever_sells_its_work_by_second_price_is_never_paid_less_than_it_asked(some: Any, weigh: float) -> None:
    picks = allocate({"t": some}, second_price(), room=FREE, load=IDLE, weigh=weigh)
    for pick in picks.values():
        assert pick.price >= next(auction.asked(o) for o in some if o["bidder"] == pick.bidder) - 1e-9


@given(ON_ONE, st.integers(0, 9))
def test_a_truthful_price_is_the_best_bid_in_a_second_price_auction(some: Any, lie: int) -> None:
    if len(some) < 2:
        return
    me, others = some[0], some[1:]
    true = auction.asked(me)

    def gain(price: float) -> float:
        free = dict.fromkeys(NAMES, 1)
        picks = allocate(
            {"t": [{**me, "price": price}, *others]}, second_price(), room=free, load=dict.fromkeys(NAMES, 0)
        )
        return picks["t"].price - true if picks["t"].bidder == me["bidder"] else 0.0

    assert gain(true) >= gain(lie)


@pytest.mark.parametrize(
    ("name", "broken", "law"),
    [
        (
            "full",
            lambda bidder, room: False,
            test_every_task_has_at_most_one_winner_within_its_room_and_none_is_left_over_without_need,
        ),
        (
            "taken",
            lambda task, picks: False,
            test_the_best_offer_wins_and_ties_go_to_the_lower_load_and_then_by_name,
        ),
        (
            "price",
            lambda rule, winner, rated: next(auction.asked(o) for _, who, o in rated if who == winner),
            test_a_second_price_auction_charges_the_second_price,
        ),
        (
            "price",
            lambda rule, winner, rated: next(auction.asked(o) for _, who, o in rated if who == winner),
            test_a_truthful_price_is_the_best_bid_in_a_second_price_auction,
        ),
        (
            "price",
            lambda rule, winner, rated: min(auction.asked(o) for _, who, o in rated) - 1,
            test_whoever_sells_its_work_by_second_price_is_never_paid_less_than_it_asked,
        ),
        (
            "price",
            lambda rule, winner, rated: next(auction.asked(o) for _, who, o in rated if who != winner),
            test_whoever_sells_its_work_by_second_price_is_never_paid_less_than_it_asked,
        ),
        (
            "worth",
            lambda offer, rule: -rule.value(dict(offer)),
            test_a_second_price_auction_charges_the_second_price,
        ),
    ],
)
def test_a_broken_auction_is_found(name: str, broken: Any, law: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auction, name, broken)
    laws.breaks(law)


def test_an_allocation_that_goes_by_the_order_of_arrival_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_come(offers: Any, rule_: Any, *, room: Any, load: Any, weigh: float = 0.0) -> Any:
        return {task: Pick(some[0]["bidder"], 1.0, 1.0) for task, some in offers.items() if some}

    monkeypatch.setitem(globals(), "allocate", first_come)
    laws.breaks(test_the_order_in_which_proposals_come_changes_nothing)
    laws.breaks(test_every_task_has_at_most_one_winner_within_its_room_and_none_is_left_over_without_need)


def test_a_load_that_is_not_looked_at_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(offers: Any, rule_: Any, *, room: Any, load: Any, weigh: float = 0.0) -> Any:
        return whole(offers, rule_, room=room, load=dict.fromkeys(load, 0), weigh=weigh)

    whole = allocate
    monkeypatch.setitem(globals(), "allocate", blind)
    laws.breaks(test_the_best_offer_wins_and_ties_go_to_the_lower_load_and_then_by_name)


def test_awards_of_the_same_round_count_as_load() -> None:
    offers = {t: [{"bidder": w, "cost": 1, "price": None} for w in ("a", "b")] for t in ("1", "2", "3", "4")}
    picks = allocate(offers, lowest_cost(), room={"a": 4, "b": 4}, load={"a": 0, "b": 1})
    assert [pick.bidder for pick in picks.values()] == ["a", "a", "b", "a"]


def test_a_value_that_is_no_number_or_fails_takes_part_in_nothing() -> None:
    some = [{"bidder": w, "cost": c, "price": None} for w, c in (("a", 0), ("b", 2), ("c", 1))]
    one = highest_utility(lambda offer: float("nan") if offer["bidder"] == "c" else 1 / offer["cost"])
    free = dict.fromkeys("abc", 1)
    assert allocate({"t": some}, one, room=free, load=dict.fromkeys("abc", 0))["t"].bidder == "b"


def test_a_reserve_below_nothing_is_refused() -> None:
    with pytest.raises(ContractError, match="reserve of second_price"):
        second_price(reserve=-1)


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_reputation_rises_with_what_was_done_and_falls_with_what_failed(done: int, failed: int) -> None:
    assert reputation(0, 0) == 0.5
    assert reputation(done, failed + 1) < reputation(done, failed) < reputation(done + 1, failed)
    assert 0 < reputation(done, failed) < 1


def test_a_reputation_that_forgets_failures_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "reputation", lambda done, failed: (done + 1) / (done + 2))
    laws.breaks(test_a_reputation_rises_with_what_was_done_and_falls_with_what_failed)


# Whom to call

CIRCLES = [["ann", "ben"], ["cem"], ["dan"]]


@given(st.sets(st.sampled_from(NAMES)), COUNTS, st.integers(0, 2))
def test_a_market_widens_exactly_as_far_as_it_must(excluded: set[str], room: Any, circle: int) -> None:
    lot = {"circle": circle, "excluded": dict.fromkeys(excluded, "failed")}
    wide = market.widened(lot, CIRCLES, room)
    called = market.candidates(wide, CIRCLES, room)
    assert not excluded & set(called)
    assert all(room[who] for who in called)
    assert bool(called) is any(room[who] and who not in excluded for who in NAMES)
    if wide["circle"] > circle:
        assert not market.candidates({**lot, "circle": wide["circle"] - 1}, CIRCLES, room)


def test_a_market_that_calls_whom_it_excluded_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market, "candidates", lambda lot, circles, room: [who for who in NAMES if room[who]])
    laws.breaks(test_a_market_widens_exactly_as_far_as_it_must)


def test_a_bid_without_a_function_is_the_declared_cost_and_the_share_of_words_that_are_skills() -> None:
    bid = market.declared(3, ["Tides and harbours", "ships"])(Task(goal="Tides, ships: where? How high?"))
    assert (bid.cost, bid.utility, bid.refuse) == (3, 0.4, False)
    assert market.declared(1, ["x"])(Task(goal="?!")).utility == 0
