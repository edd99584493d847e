"""The contract net, without the engine: a machine of its laws, and that each is found when its rule is broken."""

from collections.abc import Callable
from typing import Any

import laws
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from state import auction
from state import contract_net as net
from state.auction import allocate, lowest_cost
from state.errors import InputError

BIDDERS = ("ann", "ben", "cem")
TASKS = ("t1", "t2")
CAPACITY = {"ann": 1, "ben": 1, "cem": 2}
ANY = st.integers(0, 99)
ANSWERS = st.lists(st.sampled_from([*["propose"] * 4, "refuse", "not_understood", ""]), min_size=3, max_size=3)
END = st.sampled_from([*net.ENDS, ""])


def refuses(what: Callable[[], Any]) -> bool:
    try:
        what()
    except InputError:
        return True
    return False


class ContractNet(RuleBasedStateMachine):
    """Managers and bidders over a network that loses, repeats and delays what is said.

    What must hold is reckoned from the machine's own notes of what was sent and heard, never from a contract.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.contracts: dict[str, Any] = {}
        self.flying: list[dict[str, Any]] = []
        self.deadline: dict[Any, float] = {}
        self.said: dict[Any, dict[str, str]] = {}  # (task, epoch) -> bidder -> the one answer that counted
        self.told: dict[Any, list[tuple[str, str]]] = {}  # (task, epoch) -> (bidder, accept or reject), as sent
        self.ends: dict[Any, list[str]] = {}  # (task, epoch) -> how it ended; exactly one in the end

    # What the notes say

    def at(self, task: str) -> Any:
        return task, self.contracts[task]["epoch"]

    def winner(self, at: Any) -> str:
        return next((who for who, word in self.told.get(at, ()) if word == "accept"), "")

    def live(self) -> list[tuple[Any, str]]:
        return [(at, self.winner(at)) for at in self.told if self.winner(at) and not self.ends.get(at)]

    def expected(self, message: Any) -> str:
        task, who, kind = message["task"], message["from"], message["kind"]
        at = (task, message["epoch"])
        if at != self.at(task):
            return "stale"
        if kind in net.ANSWERS:
            if who in self.said[at]:
                return "duplicate"
            return "late" if self.now > self.deadline[at] or at in self.told else "taken"
        if who != self.winner(at):
            return "unexpected"
        if not self.ends.get(at):
            return "taken" if self.now <= self.deadline[at] + 6 else "late"
        return "duplicate" if self.ends[at][0] in net.ENDS else "late"

    # What happens

    @initialize(answers=ANSWERS)
    def open(self, answers: list[str]) -> None:
        for task in TASKS:
            self.announce(task, answers)

    @rule(task=st.sampled_from(TASKS), answers=ANSWERS)
    def announce(self, task: str, answers: list[str]) -> None:
        before = self.contracts.get(task)
        if before is not None and not self.ends.get(self.at(task)):
            assert refuses(lambda: net.again(before, BIDDERS))
            return
        call = net.announced if before is None else net.again
        self.contracts[task] = after = call(before or task, BIDDERS, deadline=self.now + 3)
        assert after["epoch"] == (before["epoch"] + 1 if before else 1)
        at = self.at(task)
        self.deadline[at], self.said[at] = self.now + 3, {}
        for who, kind in zip(BIDDERS, answers, strict=True):
            self.send(at, who, kind)

    def send(self, at: Any, who: str, kind: str) -> None:
        """A word on its way to the manager; none from whom the manager did not reach, or who is dead."""
        if kind:
            self.flying.append({"from": who, "kind": kind, "task": at[0], "epoch": at[1]})

    @precondition(lambda self: self.flying)
    @rule(which=ANY)
    def deliver(self, which: int) -> None:
        self.hear(self.flying.pop(which % len(self.flying)))

    @precondition(lambda self: self.flying)
    @rule()
    def deliver_all(self) -> None:
        while self.flying:
            self.hear(self.flying.pop())

    def hear(self, message: Any) -> None:
        task = message["task"]
        before, expected, at = self.contracts[task], self.expected(message), (task, message["epoch"])
        after, heard = net.hear(before, {**message, "at": self.now})
        assert heard == expected
        if heard == "taken" and message["kind"] in net.ANSWERS:
            self.said[at][message["from"]] = message["kind"]
        elif heard == "taken":
            self.ends.setdefault(at, []).append(message["kind"])
        elif after["end"] != before["end"]:  # its time had come, and somebody's word let it be seen
            assert (after["end"], before["end"]) == ("expired", "")
            self.ends.setdefault(self.at(task), []).append("expired")
        else:
            told = heard == "late" and message["kind"] in net.ANSWERS
            assert (message["from"] in after["late"]) is (told or message["from"] in before["late"])
            assert {**after, "late": before["late"]} == before
        self.contracts[task] = after

    @rule(task=st.sampled_from(TASKS), who=st.sampled_from(BIDDERS))
    def award_whom_one_likes(self, task: str, who: str) -> None:
        """Only to try what must not be: what may be is awarded by the rule below."""
        if self.said[self.at(task)].get(who) != "propose" or self.at(task) in self.told:
            assert refuses(lambda: net.award(self.contracts[task], who))

    @precondition(lambda self: any(net.proposers(contract) for contract in self.contracts.values()))
    @rule(costs=st.permutations([1, 2, 3]), shut=st.sampled_from(["", "", "", *TASKS]), end=END)
    def award_by_the_rule(self, costs: list[int], shut: str, end: str) -> None:
        bidding = [t for t, c in self.contracts.items() if net.phase(c) == "bidding"]
        bids = {who: {"bidder": who, "cost": cost, "price": None} for who, cost in zip(BIDDERS, costs, strict=True)}
        offers = {t: [bids[who] for who in net.proposers(self.contracts[t])] for t in bidding if t != shut}
        load = {who: sum(winner == who for _, winner in self.live()) for who in BIDDERS}
        room = {who: CAPACITY[who] - load[who] for who in BIDDERS}
        picks = allocate(offers, lowest_cost(), room=room, load=load)
        for task in bidding:
            at, before = self.at(task), self.contracts[task]
            if task in picks:
                after = net.award(before, picks[task].bidder, due=self.deadline[at] + 6)
                self.send(at, picks[task].bidder, end)
            else:
                after = net.close(before)
                self.ends.setdefault(at, []).append("unsold")
            self.send_verdicts(task, after)

    @rule(task=st.sampled_from(TASKS))
    def cancel(self, task: str) -> None:
        at = self.at(task)
        after, in_time = net.cancel(self.contracts[task])
        assert in_time is (not self.ends.get(at))
        if in_time:
            self.ends.setdefault(at, []).append("cancelled")
        self.send_verdicts(task, after)

    def send_verdicts(self, task: str, after: Any) -> None:
        at = self.at(task)
        new = {} if at in self.told else after["verdicts"]
        if at in self.told:
            assert dict(self.told[at]) == after["verdicts"]
        self.told.setdefault(at, []).extend(new.items())
        self.contracts[task] = after

    @rule(task=st.sampled_from(TASKS))
    def expire(self, task: str) -> None:
        at, before = self.at(task), self.contracts[task]
        after = net.expire(before, self.now)
        over = (at, self.winner(at)) in self.live() and self.now > self.deadline[at] + 6
        assert (after != before) is over
        if over:
            self.ends.setdefault(at, []).append("expired")
        self.contracts[task] = after

    @rule(seconds=st.sampled_from([1.0, 2.0, 8.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.flying)
    @rule(which=ANY)
    def repeat(self, which: int) -> None:
        self.flying.append(dict(self.flying[which % len(self.flying)]))

    @precondition(lambda self: self.flying)
    @rule(which=ANY)
    def lose(self, which: int) -> None:
        self.flying.pop(which % len(self.flying))

    # What must hold

    @invariant()
    def no_task_is_awarded_twice_at_the_same_time(self) -> None:
        tasks = [task for (task, _), _ in self.live()]
        assert len(tasks) == len(set(tasks))

    @invariant()
    def nobody_has_more_than_there_is_room_for(self) -> None:
        hands = [who for _, who in self.live()]
        assert all(hands.count(who) <= CAPACITY[who] for who in BIDDERS)

    @invariant()
    def every_proposer_gets_exactly_one_word_and_at_most_one_is_accepted(self) -> None:
        for at, told in self.told.items():
            assert sorted(who for who, _ in told) == sorted(w for w, k in self.said[at].items() if k == "propose")
            assert sum(word == "accept" for _, word in told) <= 1

    @invariant()
    def every_contract_has_at_most_one_end_and_keeps_to_the_notes(self) -> None:
        assert all(len(ends) == 1 for ends in self.ends.values())
        for task, contract in self.contracts.items():
            at = self.at(task)
            assert contract["end"] == (self.ends.get(at) or [""])[0]
            assert contract["winner"] == self.winner(at)
            assert {who: a["kind"] for who, a in contract["answers"].items()} == self.said[at]


TestContractNet = ContractNet.TestCase


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("repeated", lambda contract, message: False),
        ("late", lambda contract, message: False),
        ("stale", lambda contract, message: False),
        ("acceptable", lambda contract, bidder: True),
        ("verdicts", lambda live, winner: {winner: "accept"} if winner else {}),
        ("over", lambda contract: False),
        ("over", lambda contract: True),
        ("expire", lambda contract, now: contract),
        ("close", lambda contract: {**contract, "end": "unsold"}),
    ],
)
def test_a_broken_protocol_is_found(name: str, broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, name, broken)
    laws.breaks(ContractNet)


def test_a_capacity_that_is_not_kept_is_found_by_the_protocol_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auction, "full", lambda bidder, room: False)
    laws.breaks(ContractNet)


def test_a_conversation_is_told_in_the_order_of_the_protocol() -> None:
    contract = net.announced("t", ["a", "b", "c", "d"], deadline=1)
    for who, kind, time in (("b", "propose", 0), ("a", "propose", 1), ("c", "refuse", 0), ("d", "propose", 2)):
        contract, _ = net.hear(contract, {"from": who, "kind": kind, "epoch": 1, "at": time})
    contract, _ = net.hear(net.award(contract, "a"), {"from": "a", "kind": "inform", "epoch": 1, "at": 0})
    assert [(m["from"], m["to"], m["kind"]) for m in net.conversation(contract)] == [
        ("", "a", "cfp"),
        ("", "b", "cfp"),
        ("", "c", "cfp"),
        ("", "d", "cfp"),
        ("a", "", "propose"),
        ("b", "", "propose"),
        ("c", "", "refuse"),
        ("", "d", "late"),
        ("", "a", "accept_proposal"),
        ("", "b", "reject_proposal"),
        ("a", "", "inform"),
    ]
    working, _ = net.hear(net.announced("t", ["a"]), {"from": "a", "kind": "propose", "epoch": 1, "at": 0})
    back, _ = net.cancel(net.award(working, "a"))
    assert net.conversation(back)[-1] == {"from": "", "to": "a", "kind": "cancel"}
