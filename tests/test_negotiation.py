import json
from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from makers import scripted
from scripted import Scripted

from graphs import negotiation
from graphs.bind import Bindable, bind
from graphs.negotiation import build, party
from nodes.agent import Bound
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import fork
from state.agent import PERSON, Agent, Limits
from state.concession import Strategy, View, boulware, conceder, linear, tit_for_tat
from state.errors import ContractError, InputError
from state.negotiation import Agreement, Move
from state.record import Record, repeated

CONFIG: Any = {"configurable": {"thread_id": "t"}}
ISSUES = {"price": [100, 110, 120, 130, 140], "days": [1, 2, 3]}
BUYER: Any = {"prefers": {"price": "low", "days": "low"}, "weights": {"price": 2}, "reservation": 0.31}
SELLER: Any = {"prefers": {"price": "high", "days": "high"}, "weights": {"days": 3}, "reservation": 0.27}


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    seller = scripted("dealer", [("Move", {"kind": "accept"})], output=Move)
    parties = [party("buyer", prefers=BUYER["prefers"]), party("seller", by=seller, prefers=SELLER["prefers"])]
    return negotiation.build(parties, issues=ISSUES, writer=who)


class Crash(BaseException):
    pass


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Negotiates as {name}.", output=Move, **options)


def offer(price: int, days: int) -> dict[str, Any]:
    return {"kind": "offer", "terms": {"price": price, "days": days}}


ACCEPT, WITHDRAW = {"kind": "accept"}, {"kind": "withdraw"}


def moves(name: str, *made: Any, **options: Any) -> Bound:
    """An agent that makes one move after the other, and the last one again and again."""
    left = list(made)

    def script(messages: Any, tools: Any) -> Any:
        return [("Move", left.pop(0) if len(left) > 1 else left[0])]

    return bind(agent(name, **options), Scripted(script=script))


def shown(bound: Bound) -> list[str]:
    assert isinstance(bound.by, Scripted)
    return [messages[1].text for messages in bound.by.calls]


def two(buyer: Any = None, seller: Any = None) -> list[Any]:
    return [party("buyer", by=buyer, **BUYER), party("seller", by=seller, **SELLER)]


STUBBORN = Strategy("stubborn", lambda view: {"kind": "pass"})


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


# Alternating offers


@pytest.mark.parametrize("buyer", [boulware(), linear(), conceder(), tit_for_tat()], ids=lambda s: s.name)
@pytest.mark.parametrize("seller", [linear(), conceder()], ids=lambda s: s.name)
async def test_strategies_agree_within_both_reservations_and_every_offer_is_shown(buyer: Any, seller: Any) -> None:
    found = await build(two(buyer, seller), issues=ISSUES).ainvoke({"task": "trade"})
    assert found["outcome"] == "completed"
    deal = Agreement.model_validate(found["answer"])
    assert deal.utilities["buyer"] >= BUYER["reservation"]
    assert deal.utilities["seller"] >= SELLER["reservation"]
    assert deal.terms == found["table"]["offers"][-1]["terms"]
    assert [o["by"] for o in found["table"]["offers"]] == [
        ("buyer", "seller")[n % 2] for n in range(len(found["table"]["offers"]))
    ]


async def test_an_agent_can_be_the_strategy() -> None:
    buyer, seller = moves("ann", offer(100, 1), offer(120, 2)), moves("bob", offer(140, 3), ACCEPT)
    found = await build(two(buyer, seller), issues=ISSUES).ainvoke({"task": "trade"})
    assert (found["outcome"], found["answer"]["terms"], found["answer"]["by"]) == (
        "completed",
        {"price": 120, "days": 2},
        "buyer",
    )
    assert found["answer"]["round"] == 2
    assert found["usage"]["total"]["calls"] == formula("negotiation", moves=4, proposals=0, writings=0) == 4


async def test_a_strategy_of_ones_own_is_a_function_of_the_view() -> None:
    seen: list[View] = []

    def play(view: View) -> dict[str, Any]:
        seen.append(view)
        return {"kind": "offer", "terms": {"price": 140, "days": 3}} if view.round == 1 else {"kind": "withdraw"}

    found = await build(two(linear(), Strategy("mine", play)), issues=ISSUES).ainvoke({"task": "trade"})
    assert found["outcome"] == "rejected"
    assert found["reason"] == "no deal: seller withdrew after 3 offer(s)"
    assert [(v.me, v.round, v.rounds, len(v.offers)) for v in seen] == [("seller", 1, 10, 1), ("seller", 2, 10, 3)]


async def test_an_agreement_says_whether_a_better_one_was_offered() -> None:
    # both gain by (100, 3) over (120, 2): the days matter to the seller, the price to the buyer
    buyer, seller = moves("ann", offer(100, 3), offer(120, 2)), moves("bob", offer(140, 2), ACCEPT)
    poor = await build(two(buyer, seller), issues=ISSUES).ainvoke({"task": "trade"})
    assert poor["answer"]["efficient"] is False
    good = await build(two(moves("ann", offer(100, 3)), moves("bob", ACCEPT)), issues=ISSUES).ainvoke({"task": "trade"})
    assert good["answer"]["efficient"] is True
    assert good["answer"]["utilities"] == {"buyer": 0.666666667, "seller": 0.75}


async def test_three_parties_must_all_accept_the_same_offer() -> None:
    third = party("city", prefers={"price": "low", "days": {"1": 0, "2": 1, "3": 0.5}}, reservation=0.2)
    found = await build([*two(), third], issues=ISSUES, rounds=12).ainvoke({"task": "trade"})
    assert found["outcome"] == "completed"
    assert set(found["answer"]["utilities"]) == {"buyer", "seller", "city"}
    assert len(found["table"]["accepted"]) == 2


@pytest.mark.parametrize("rounds", [1, 3])
async def test_the_deadline_ends_in_no_deal_and_says_so(rounds: int) -> None:
    graph = build(two(STUBBORN, STUBBORN), issues=ISSUES, rounds=rounds, max_proposals=0)
    found = await graph.ainvoke({"task": "trade"})
    assert (found["outcome"], found["answer"], found["table"]["status"]) == ("rejected", None, "no deal")
    assert found["reason"] == f"no deal: no offer was accepted by all in {rounds} round(s)"
    assert found["table"]["moves"] == 2 * rounds


async def test_with_monotonic_concession_a_worse_offer_leaves_the_last_one_standing() -> None:
    buyer = moves("ann", offer(120, 2), offer(100, 1), offer(120, 3), offer(120, 3))
    seller = Strategy("slow", lambda view: offer(140, 3))
    graph = build(two(buyer, seller), issues=ISSUES, rounds=3, monotonic=True, max_proposals=0)
    found = await graph.ainvoke({"task": "trade"})
    made = [o["terms"]["days"] for o in found["table"]["offers"] if o["by"] == "buyer"]
    assert made == [2, 2, 3]
    assert found["table"]["refused"] == ["buyer: an offer may not be worse for another party than the one before"]


# What agents may not do


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (offer(99, 1), "99 is no value of 'price'"),
        ({"kind": "offer", "terms": {"price": 100}}, "the terms must name price, days"),
        (offer(140, 3), "those terms are not within your own reservation"),
        (ACCEPT, "there is no offer to accept"),
    ],
)
async def test_a_move_that_cannot_be_made_goes_back_once_and_is_then_a_pass_that_is_named(
    wrong: Any, fault: str
) -> None:
    mended = moves("ann", wrong, offer(100, 1))
    found = await build(two(mended, moves("bob", ACCEPT)), issues=ISSUES, max_proposals=0).ainvoke({"task": "trade"})
    assert len(shown(mended)) >= 2
    assert found["table"]["offers"][0]["terms"] == {"price": 100, "days": 1}
    hopeless = build(two(moves("ann", wrong), linear()), issues=ISSUES, rounds=2, max_proposals=0)
    found = await hopeless.ainvoke({"task": "trade"})
    assert found["outcome"] == "rejected"
    assert f"buyer: {fault}" in found["reason"] or "ann: no valid answer" in found["reason"]
    assert not [o for o in found["table"]["offers"] if o["by"] == "buyer"]


async def test_an_acceptance_below_ones_own_reservation_is_not_one() -> None:
    greedy = party("buyer", by=Strategy("greedy", lambda view: offer(100, 1)), **BUYER)
    weak = party("seller", by=moves("bob", ACCEPT), **SELLER)
    found = await build([greedy, weak], issues=ISSUES, rounds=2, max_proposals=0).ainvoke({"task": "trade"})
    assert found["outcome"] == "rejected"
    assert "seller: those terms are not within your own reservation and limits" in found["reason"]


async def test_an_agent_that_fails_ends_the_negotiation_and_is_named() -> None:
    def broken(task: Any) -> Any:
        raise ValueError("lost its voice")

    found = await build(two(bind(agent("ann"), broken)), issues=ISSUES).ainvoke({"task": "trade"})
    assert (found["outcome"], found["answer"], found["reason"]) == ("failed", None, "ann: lost its voice")


@pytest.mark.parametrize(
    ("play", "fault"),
    [
        (lambda view: {"kind": "offer", "terms": {"price": 99, "days": 1}}, "buyer: 99 is no value"),
        (lambda view: {"kind": "offer", "terms": {"price": 140, "days": 3}}, "buyer: those terms are not within"),
        (lambda view: {"kind": "shout"}, "buyer: 'shout' is no move"),
        (lambda view: {"kind": "accept", "offer": 7}, "buyer: there is no offer"),
        (lambda view: 1 / 0, "buyer: its strategy failed: ZeroDivisionError"),
    ],
)
async def test_a_strategy_of_ones_own_cannot_break_the_rules_or_the_run(play: Any, fault: str) -> None:
    graph = build(two(Strategy("odd", play), STUBBORN), issues=ISSUES, rounds=2, max_proposals=0)
    found = await graph.ainvoke({"task": "trade"})
    assert found["outcome"] in ("rejected", "failed")
    assert fault in found["reason"]


async def test_a_party_that_can_accept_nothing_withdraws() -> None:
    nothing = party("buyer", prefers={"price": "low", "days": "low"}, reservation=1, limits={"days": 1, "price": 100})
    proud = party("seller", prefers={"price": "low", "days": [2, 1, 3]}, reservation=1)
    found = await build([nothing, proud], issues=ISSUES, max_proposals=0).ainvoke({"task": "trade"})
    assert found["outcome"] == "rejected"


# Private values


SECRETS = ["0.31", "0.27", "reservation", "prefers", "weights"]


async def test_no_party_mediator_or_writer_is_shown_anybody_elses_interests(memory: Persistence) -> None:
    buyer, seller = moves("ann", offer(100, 1), ACCEPT), moves("bob", offer(140, 3), ACCEPT)
    mediator = moves("mid", offer(120, 2))
    clerk = bind(Agent(name="clerk", responsibility="Writes."), Scripted(script=lambda m, t: "written"))
    graph = build(
        [party("buyer", by=buyer), party("seller", by=seller)],
        issues=ISSUES,
        rounds=1,
        mediator=mediator,
        max_proposals=1,
        writer=clerk,
    )
    task = {"goal": "trade", "context": {"parties": {"buyer": BUYER, "seller": SELLER}}}
    home = memory.bind(graph)
    parts = [p async for p in home.astream({"task": task}, CONFIG, stream_mode="values")]
    assert parts[-1]["answer"]["text"] == "written"
    assert [len(shown(who)) for who in (buyer, seller, mediator, clerk)] == [2, 2, 1, 1]
    for text in shown(buyer):
        assert "0.31" in text
        assert "0.27" not in text
    for text in shown(seller):
        assert "0.27" in text
        assert "0.31" not in text
    for text in [*shown(mediator), *shown(clerk)]:
        assert [s for s in ("0.31", "0.27", "prefers", "weights") if s in text] == []
    out = await home.ainvoke({"task": task}, CONFIG)
    for seen in [out, *({k: v for k, v in part.items() if k != "task"} for part in parts)]:
        assert [s for s in SECRETS if s in json.dumps({**seen, "messages": [m.text for m in seen["messages"]]})] == []


async def test_what_an_earlier_deal_was_worth_is_not_told_to_the_other_side(memory: Persistence) -> None:
    buyer, seller = moves("ann", offer(100, 3)), moves("bob", ACCEPT)
    graph = memory.bind(build(two(buyer, seller), issues=ISSUES))
    first = await graph.ainvoke({"task": "trade"}, CONFIG)
    assert "0.666666667" in first["messages"][-1].text
    await graph.ainvoke({"task": "trade again"}, CONFIG)
    for text in [*shown(buyer), *shown(seller)]:
        assert "0.666666667" not in text


# No deal: a mediator, then a person


async def test_without_a_deal_the_built_in_mediator_finds_a_compromise() -> None:
    ends = [Strategy("a", lambda view: offer(100, 1)), Strategy("b", lambda view: offer(140, 3))]
    found = await build(two(*ends), issues=ISSUES, rounds=2).ainvoke({"task": "trade"})
    assert (found["outcome"], found["answer"]["how"], found["answer"]["by"]) == ("completed", "mediation", "mediator")
    assert found["answer"]["terms"] == {"price": 120, "days": 2}


async def test_a_mediator_moves_towards_who_refuses_and_proposes_nothing_twice() -> None:
    tough = {"prefers": {"price": "low", "days": "low"}, "reservation": 0.74}
    ends = [Strategy("a", lambda view: offer(100, 1)), Strategy("b", lambda view: offer(140, 3))]
    parties = [party("buyer", by=ends[0], **tough), party("seller", by=ends[1], prefers=SELLER["prefers"])]
    found = await build(parties, issues=ISSUES, rounds=1).ainvoke({"task": "trade"})
    made = [o for o in found["table"]["offers"] if o["by"] == "mediator"]
    assert found["outcome"] == "completed"
    assert len(made) > 1
    assert {o.get("refused_by") for o in made[:-1]} == {"buyer"}
    assert len({json.dumps(o["terms"]) for o in made}) == len(made)


async def test_an_agent_mediates_by_the_offers_alone_and_agents_answer_it() -> None:
    mediator = moves("mid", offer(110, 2), offer(120, 3))
    buyer = moves("ann", offer(100, 1), WITHDRAW, ACCEPT)
    seller = moves("bob", offer(140, 3), ACCEPT)
    graph = build(two(buyer, seller), issues=ISSUES, rounds=1, mediator=mediator)
    found = await graph.ainvoke({"task": "trade"})
    assert (found["outcome"], found["answer"]["terms"]) == ("completed", {"price": 120, "days": 3})
    assert found["usage"]["mid"]["calls"] == 2
    calls = found["usage"]["total"]["calls"]
    assert calls == formula("negotiation", moves=5, proposals=2, writings=0)
    assert calls_of(graph).least <= calls <= (calls_of(graph).most or 0)


async def test_a_mediator_without_sense_is_replaced_by_the_built_in_one_and_named() -> None:
    ends = [Strategy("a", lambda view: offer(100, 1)), Strategy("b", lambda view: offer(140, 3))]
    graph = build(two(*ends), issues=ISSUES, rounds=1, mediator=moves("mid", ACCEPT, limits=Limits(repairs=0)))
    found = await graph.ainvoke({"task": "trade"})
    assert (found["outcome"], found["answer"]["how"]) == ("degraded", "mediation")
    assert found["reason"].startswith("mid: no valid answer")


@pytest.mark.parametrize("most", [0, 1, 3])
async def test_max_proposals_bounds_the_mediation(most: int) -> None:
    hard = party("seller", by=STUBBORN, prefers=SELLER["prefers"], reservation=1)
    graph = build([party("buyer", by=STUBBORN, **BUYER), hard], issues=ISSUES, rounds=1, max_proposals=most)
    found = await graph.ainvoke({"task": "trade"})
    assert found["outcome"] == "rejected"
    assert len(found["table"]["offers"]) == most


async def asked(memory: Persistence) -> Graph:
    graph = memory.bind(build(two(STUBBORN, STUBBORN), issues=ISSUES, rounds=1, max_proposals=0, escalate=True))
    waiting = await graph.ainvoke({"task": "trade"}, CONFIG)
    (question,) = waiting["__interrupt__"]
    assert question.value["kind"] == "escalation"
    assert [s for s in SECRETS if s in json.dumps(question.value)] == []
    return graph


async def test_a_person_may_set_terms_that_all_can_accept_and_no_others(memory: Persistence) -> None:
    graph = await asked(memory)
    bad = {"decisions": [{"type": "edit", "args": {"terms": {"price": 140, "days": 3}}}]}
    with pytest.raises(Exception, match="buyer cannot accept these terms"):
        await graph.ainvoke(Command(resume=bad), CONFIG)
    good = {"decisions": [{"type": "edit", "args": {"terms": {"price": 120, "days": 2}}}], "by": "eve"}
    found = await graph.ainvoke(Command(resume=good), CONFIG)
    assert (found["outcome"], found["answer"]["how"], found["answer"]["by"]) == ("completed", "person", "eve")


async def test_a_person_may_leave_it_without_a_deal(memory: Persistence) -> None:
    graph = await asked(memory)
    found = await graph.ainvoke(Command(resume={"decisions": [{"type": "reject"}], "by": "eve"}), CONFIG)
    assert (found["outcome"], found["answer"]) == ("escalated", None)
    assert found["reason"].startswith("eve left it without a deal: no deal")


async def test_a_person_can_be_a_party(memory: Persistence) -> None:
    graph = memory.bind(build(two(bind(agent("eve"), PERSON), moves("bob", ACCEPT)), issues=ISSUES))
    await graph.ainvoke({"task": "trade"}, CONFIG)
    said = {"decisions": [{"type": "respond", "message": json.dumps(offer(120, 3))}]}
    found = await graph.ainvoke(Command(resume=said), CONFIG)
    assert (found["outcome"], found["answer"]["terms"]["price"]) == ("completed", 120)


# Limits, threads, nesting


async def test_a_budget_that_is_spent_ends_it_and_a_writer_that_cannot_pay_leaves_the_agreement() -> None:
    buyer, seller = moves("ann", offer(120, 2)), moves("bob", ACCEPT)
    found = await build(two(buyer, seller), issues=ISSUES).ainvoke({"task": "x"}, context={"max_calls": 1})
    assert (found["outcome"], found["answer"]) == ("out_of_budget", None)
    clerk = bind(Agent(name="clerk", responsibility="Writes."), Scripted(script=lambda m, t: "written"))
    graph = build(two(buyer, seller), issues=ISSUES, writer=clerk)
    found = await graph.ainvoke({"task": "x"}, context={"max_calls": 2})
    assert (found["outcome"], found["answer"]["terms"]) == ("out_of_budget", {"price": 120, "days": 2})


async def test_a_low_recursion_limit_ends_it_early_and_well() -> None:
    graph = build(two(STUBBORN, STUBBORN), issues=ISSUES, rounds=50)
    found = await graph.ainvoke({"task": "trade"}, {"recursion_limit": 20})
    assert found["outcome"] == "rejected"
    assert found["table"]["moves"] < 20


async def test_issues_and_interests_of_the_task_go_before_those_of_the_build() -> None:
    context = {
        "issues": {"seats": [1, 2]},
        "parties": {"buyer": {"prefers": {"seats": "high"}}, "seller": {"prefers": {"seats": "high"}}},
    }
    found = await build(two(), issues=ISSUES).ainvoke({"task": {"goal": "trade", "context": context}})
    assert found["answer"]["terms"] == {"seats": 2}


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ({"issues": 3}, "nothing to negotiate"),
        ({"issues": {"a": [1]}}, "two values"),
        ({"parties": {"mallory": {}}}, "'mallory' is no party; parties: buyer, seller"),
        ({"parties": {"buyer": {"prefers": 3}}}, "interests of 'buyer'"),
        ({"issues": {"seats": [1, 2]}}, "interests of 'buyer' do not fit the issues"),
    ],
)
async def test_issues_and_interests_that_do_not_fit_are_refused(context: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        await build(two(), issues=ISSUES).ainvoke({"task": {"goal": "trade", "context": context}})


async def test_a_second_turn_begins_with_an_empty_table(memory: Persistence) -> None:
    graph = memory.bind(build(two(moves("ann", offer(120, 2)), moves("bob", ACCEPT)), issues=ISSUES))
    first = await graph.ainvoke({"task": "one"}, CONFIG)
    second = await graph.ainvoke({"task": "two"}, CONFIG)
    assert (first["table"], first["answer"]) == (second["table"], second["answer"])


async def test_after_a_crash_no_move_is_made_again(sqlite: Persistence) -> None:
    crashed: list[int] = []

    async def crash_once(task: Any) -> Any:
        crashed.append(1)
        if len(crashed) == 1:
            raise Crash
        return ACCEPT

    buyer = moves("ann", offer(120, 2))
    graph = sqlite.bind(build(two(buyer, bind(agent("bob"), crash_once)), issues=ISSUES))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "trade"}, CONFIG, durability="sync")
    found = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (found["outcome"], len(shown(buyer)), len(crashed)) == ("completed", 1, 2)
    assert repeated(records(sqlite)) == []


async def test_a_fork_goes_on_from_the_offer_that_was_put_in(memory: Persistence) -> None:
    graph = memory.bind(build(two(moves("ann", offer(120, 2)), moves("bob", ACCEPT)), issues=ISSUES))
    first = await graph.ainvoke({"task": "trade"}, CONFIG, durability="sync")
    step = await anext(s async for s in graph.aget_state_history(CONFIG) if s.next == ("seller",))
    table = step.values["table"]
    made = {**table["offers"][0], "terms": {"price": 130, "days": 2}}
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values={"table": {**table, "offers": [made]}})
    found = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (first["answer"]["terms"]["price"], found["answer"]["terms"]["price"]) == (120, 130)


async def test_graphs_negotiate_and_a_negotiation_is_an_agent() -> None:
    inner = build(two(), issues=ISSUES)
    deal = Agent(name="deal", responsibility="Makes a deal.", output=Agreement)
    clerk = bind(Agent(name="clerk", responsibility="Writes."), Scripted(script=lambda m, t: "written"))
    outer = build(two(), issues=ISSUES, writer=build(two(), issues=ISSUES, writer=clerk))
    assert "write" in [name for name, _ in outer.get_subgraphs()]
    found = await outer.ainvoke({"task": "trade"})
    assert (found["answer"]["text"], set(found["usage"])) == ("written", {"clerk", "total"})
    assert bind(deal, inner).graph is inner


@pytest.mark.parametrize(
    ("build_it", "words"),
    [
        (lambda: build([party("a")]), "at least two"),
        (lambda: build([party("a"), party("a")]), "rename"),
        (lambda: party("Big Buyer"), "lower case"),
        (lambda: party("close"), "cannot be a party's name"),
        (lambda: party("a", prefers={"x": "low"}, reservation=2), "interests of 'a'"),
        (lambda: build(two(), issues={"x": [1, 2]}), "interests of 'buyer' do not fit `issues`"),
        (lambda: build(two(), issues={"x": [1]}), "`issues` cannot be negotiated"),
        (lambda: build(two(), rounds=0), "`rounds`"),
        (lambda: build(two(), max_proposals=-1), "`max_proposals`"),
        (lambda: build([party("a", by=Agent(name="x", responsibility="X.")), party("b")]), "'x' must return a Move"),
        (lambda: build(two(), mediator=Agent(name="x", responsibility="X.")), "the mediator 'x'"),
        (lambda: build(two(), writer=agent("x")), "the writer 'x' must return a Text"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(build_it: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        build_it()


def test_the_drawing_reads_like_the_figure() -> None:
    drawn = build(two(), issues=ISSUES, escalate=True).get_graph().edges
    assert sorted((e.source, e.target, e.conditional) for e in drawn) == [
        ("__start__", "begin", False),
        ("begin", "open", False),
        *(("buyer", way, True) for way in ("close", "decide", "finish", "mediate", "seller")),
        ("close", "finish", True),
        ("decide", "close", True),
        ("decide", "finish", True),
        ("finish", "__end__", False),
        ("mediate", "buyer", True),
        ("mediate", "finish", True),
        ("open", "buyer", False),
        *(("seller", way, True) for way in ("buyer", "close", "decide", "finish", "mediate")),
    ]


async def test_the_default_graph_agrees_on_terms_without_a_key() -> None:
    found = await negotiation.graph.ainvoke({"task": "Paint the fence."})
    assert found["outcome"] == "completed"
    assert found["answer"]["text"].startswith("Agreed: price ")
    assert set(found["agreement"]["terms"]) == {"price", "days", "revisions"}
