"""The manager's side of a market: it calls for proposals, awards, and says what came of it."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Overwrite, Send

from nodes import human
from nodes.agent import Bound, as_node
from nodes.bidder import Bidder, plain
from nodes.post import post
from nodes.reputation import remember, remembered
from runtime.run import place_of
from state import contract_net as net
from state import market
from state.agent import Reply
from state.auction import Rule, allocate
from state.concurrent import Splitter
from state.decision import ActionRequest, Decisions
from state.envelope import Envelope, MessageKind, message_id
from state.market import Circles, Lot, State
from state.task import Task
from state.turn import ended, steps_left, task_of

Node = Callable[..., Awaitable[dict[str, Any]]]

STEPS_PER_ROUND = 6  # super-steps of one round: announce, bid, evaluate, award, work, settle
MOST_ROUNDS = 100  # that the recursion limit leaves room for: with many tasks and little room, some wait long
LAST_STEPS = 4  # and of the end: whoever stands in, conclude, finish
MANAGER = "market"  # as which it speaks to the bidders

BID = (
    "Bid for this task; do not do it. Say what doing it would cost you, how good your result would be and how sure "
    "you are of that. Refuse what you cannot do well, and say why."
)

KIND: dict[str, MessageKind] = {
    "cfp": "task",
    "propose": "bid",
    "refuse": "status",
    "not_understood": "error",
    "late": "error",
    "accept_proposal": "award",
    "reject_proposal": "reject",
    "inform": "result",
    "failure": "error",
    "cancel": "reject",
}

Bidders = Mapping[str, Bidder]


def announce(bidders: Bidders, circles: Circles, *, split: Splitter, bid_seconds: float | None, weigh: float) -> Node:
    """The call for proposals on every task that is open, to all who have room; with nobody to call, to more circles."""

    async def announce(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        lots = market.to_announce(state.get("lots") or market.lots_of(task_of(state), split))
        load = {name: b.load() if callable(b.load) else b.load for name, b in bidders.items()}
        room = {name: b.capacity - load[name] for name, b in bidders.items()}
        deadline = None if bid_seconds is None else time.time() + bid_seconds
        known = state.get("reputation") or (await remembered(runtime.store, bidders) if weigh else {})
        called = {}
        for key, lot in lots.items():
            wide = market.widened(lot, circles, room)
            called[key] = market.announce(wide, market.candidates(wide, circles, room), deadline)
        await _post({}, called, state, config, runtime)
        said = {"round": (state.get("round") or 0) + 1, "load": load, "reputation": known, "heard": Overwrite({})}
        return {**said, "lots": called}

    return announce


def calls(state: State, bidders: Bidders) -> list[Send]:
    """Every call to its bidder: one by one, but all of a bidder at once where no graph and no person is met below."""
    made: dict[str, list[dict[str, Any]]] = {}
    for key, lot in market.to_announce(state["lots"]).items():
        given = dict(lot["given"])
        given["context"] = {"call for proposals": BID, **given["context"]}
        for name in lot["contract"]["called"]:
            visit = f"{bidders[name].bids_as}/{state['round']}/{key}"
            about = {"lot": key, "epoch": lot["contract"]["epoch"], "until": lot["contract"]["deadline"]}
            made.setdefault(name, []).append({**about, "visit": visit, "given": given})
    out = []
    for name, some in made.items():
        parts = [some] if bidders[name].bid.leaf else [[one] for one in some]
        out += [Send(bidders[name].bids_as, {"calls": part}) for part in parts]
    return out


def evaluate(bidders: Bidders, rule: Rule, *, weigh: float) -> Node:
    """Who gets what, by the rule: all proposals of the round at once, in whatever order they came."""

    async def evaluate(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        heard, before = _heard(state, net.ANSWERS), market.still_open(state["lots"])
        lots = {key: market.hear(lot, heard.get(key, ())) for key, lot in before.items()}
        await _post(before, lots, state, config, runtime)
        made = {key: market.offers(lot, state.get("reputation") or {}) for key, lot in lots.items()}
        room = {name: b.capacity - state["load"][name] for name, b in bidders.items()}
        spent = _spent(state)
        picks = {} if spent else allocate(made, rule, room=room, load=state["load"], weigh=weigh)
        done = {
            key: market.evaluated(lot, made[key], rule, picks.get(key), moving=bool(picks)) for key, lot in lots.items()
        }
        return {"lots": done, "spent": spent}

    return evaluate


def award(bidders: Bidders, *, approve: bool, work_seconds: float | None) -> Node:
    """Accept one proposal for each task and reject the rest; a person may have to approve, or to give it to another."""

    async def award(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        lots = market.still_open(state["lots"])
        if approve and any(lot["pick"] for lot in lots.values()):
            room = {name: b.capacity - state["load"][name] for name, b in bidders.items()}
            lots |= await _approved(lots, state, room, config, runtime)
        due = None if work_seconds is None else time.time() + work_seconds
        done = {key: market.awarded(lot, due) for key, lot in lots.items()}
        await _post(lots, done, state, config, runtime)
        return {"lots": done}

    return award


def awards(state: State) -> list[Send]:
    """Every award to its winner."""
    out = []
    for key, lot in market.still_open(state["lots"]).items():
        if winner := lot["contract"]["winner"]:
            about = {"lot": key, "epoch": lot["contract"]["epoch"], "until": lot["contract"]["due"]}
            visit = f"{winner}/{state['round']}/{key}"
            out.append(Send(winner, {**about, "visit": visit, "given": lot["given"]}))
    return out


def settle(bidders: Bidders, circles: Circles, *, max_rounds: int, weigh: float) -> Node:
    """What the round came to: done, to be announced again without those who failed, or beyond this market."""

    async def settle(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        heard, before, now = _heard(state, net.ENDS), market.still_open(state["lots"]), state["round"]
        lots = {key: market.settled(market.hear(lot, heard.get(key, ()))) for key, lot in before.items()}
        room = {name: b.capacity - (0 if callable(b.load) else b.load) for name, b in bidders.items()}  # in a while
        spent, short = _spent(state), steps_left(state) < STEPS_PER_ROUND + LAST_STEPS
        for key, lot in market.still_open(lots).items():
            times, more = lot["contract"]["epoch"], market.candidates(market.widened(lot, circles, room), circles, room)
            if spent or not more:
                lots[key] = market.missed(lot)
            elif short:
                lots[key] = market.missed(lot, f"still open after {now} rounds, the most that there are steps for")
            elif times >= max_rounds and not lot["waits"]:
                lots[key] = market.missed(lot, f"still open after {times} announcement(s)")
        await _post(before, lots, state, config, runtime)
        ends = market.outcomes(lots.values())
        await remember(runtime.store, ends, [*_where(config), now])
        return {"lots": lots, "spent": spent, "reputation": _told(state, ends) if weigh else {}}

    return settle


def stand_in(bound: Bound) -> Node:
    """Whoever does the tasks that no bidder did, with all that was said about them."""

    def read(sent: dict[str, Any]) -> Task:
        task = Task.model_validate(sent["given"])
        return task.model_copy(update={"context": {**task.context, "market": sent["why"]}})

    def write(sent: dict[str, Any], reply: Reply) -> dict[str, Any]:
        said = {"lot": sent["lot"], "kind": "stand_in", "body": {**plain(reply), "by": bound.agent.name}}
        return {"heard": {sent["visit"]: said}}

    return as_node(bound, read=read, write=write, visit=lambda sent: sent["visit"])


def left_over(state: State, name: str) -> list[Send]:
    """Every task that is missing, to whoever stands in."""
    missing = {key: lot for key, lot in state["lots"].items() if lot["over"] == "missing"}
    return [
        Send(name, {"lot": key, "visit": f"{name}/0/{key}", "given": lot["given"], "why": "; ".join(lot["why"])})
        for key, lot in missing.items()
    ]


def conclude() -> Node:
    """The answer: of one task its output, of several all of them, and who is missing."""

    async def conclude(state: State) -> dict[str, Any]:
        said = [m for m in (state.get("heard") or {}).values() if m["kind"] == "stand_in"]
        taken = {m["lot"]: market.in_stead(state["lots"][m["lot"]], m["body"]) for m in said}
        outcome, reason, answer, author = market.concluded({**state["lots"], **taken}, state.get("spent") or "")
        return {"lots": taken, **ended(outcome, reason, answer=answer, author=author)}

    return conclude


def _heard(state: State, kinds: Sequence[str]) -> dict[str, list[net.Message]]:
    """This round's messages of some kinds by lot, in an order that is not that of their arrival."""
    out: dict[str, list[net.Message]] = {}
    for _, message in sorted((state.get("heard") or {}).items()):
        if message["kind"] in kinds:
            out.setdefault(message["lot"], []).append(message)
    return out


def _spent(state: State) -> str:
    """Why the budget ends the turn; empty when it does not."""
    bodies = [m["body"] for _, m in sorted((state.get("heard") or {}).items())]
    said = [b.get("reason") or b.get("why") or "" for b in bodies if b.get("outcome") == "out_of_budget"]
    return said[0] if said else ""


async def _post(
    before: Mapping[str, Lot], after: Mapping[str, Lot], state: State, config: RunnableConfig, runtime: Runtime[Any]
) -> None:
    """What was said since, as messages in the book: from one node to the next, a conversation only ever grows."""
    said = []
    for key, lot in after.items():
        talk = f"{state['turn']}/{key}/{lot['contract']['epoch']}"
        known = len(net.conversation(before[key]["contract"])) if key in before else 0
        count: dict[str, int] = {}
        for n, message in enumerate(net.conversation(lot["contract"])):
            sender = message["from"] or MANAGER
            count[sender] = count.get(sender, 0) + 1
            if n >= known:
                said.append(_envelope(talk, sender, message, count[sender]))
    await post(said, config=config, runtime=runtime)


def _envelope(talk: str, sender: str, message: Mapping[str, str], sequence: int) -> Envelope:
    return Envelope(
        id=message_id(talk, sender, sequence),
        conversation=talk,
        sender=sender,
        recipient=message["to"] or MANAGER,
        kind=KIND[message["kind"]],
        payload={"says": message["kind"]},
        schema_name="contract_net",
        sequence=sequence,
    )


async def _approved(
    lots: Mapping[str, Lot], state: State, room: Mapping[str, int], config: RunnableConfig, runtime: Runtime[Any]
) -> dict[str, Lot]:
    """The lots with the awards that a person lets pass, or changes: asked once for all of the round."""
    due = {key: lot for key, lot in lots.items() if lot["pick"]}
    about = {key: f"Award {lot['given']['goal'][:200]!r} to {lot['pick']['bidder']}?" for key, lot in due.items()}
    actions = [
        ActionRequest(
            name="award",
            args={
                "task": lot["given"]["goal"],
                **lot["pick"],
                "proposals": {o["bidder"]: o for o in market.offers(lot, state.get("reputation") or {})},
            },
            description=about[key],
        )
        for key, lot in due.items()
    ]

    def refuse(said: Decisions) -> str:
        given = [
            (d.args or {}).get("bidder") if d.type == "edit" else lot["pick"]["bidder"]
            for d, lot in zip(said.decisions, due.values(), strict=True)
            if d.type != "reject"
        ]
        for decision, lot in zip(said.decisions, due.values(), strict=True):
            live = net.proposers(lot["contract"])
            if decision.type == "edit" and (decision.args or {}).get("bidder") not in live:
                return f"an edited award needs args {{'bidder': one of {', '.join(live)}}}"
        crowded = sorted({str(who) for who in given if given.count(who) > room[str(who)]})
        return f"more tasks than there is room for: {', '.join(crowded)}" if crowded else ""

    said = await human.approve(
        actions, agent="award", visit=f"award/{state['round']}", config=config, runtime=runtime, refuse=refuse
    )
    out: dict[str, Lot] = {}
    for decision, (key, lot) in zip(said, due.items(), strict=True):
        if decision.type == "reject":
            out[key] = market.refused(lot, f"not approved: {decision.message or 'no reason given'}")
        elif decision.type == "edit":
            who = (decision.args or {})["bidder"]
            bid = lot["contract"]["answers"][who]["body"]["bid"]
            price = bid["cost"] if bid["price"] is None else bid["price"]
            out[key] = {**lot, "pick": lot["pick"] if who == lot["pick"]["bidder"] else {"bidder": who, "price": price}}
    return out


def _where(config: RunnableConfig) -> list[Any]:
    place = place_of(config)
    return [place.thread, place.branch, place.turn, place.path]


def _told(state: State, ends: Sequence[tuple[str, str, bool]]) -> dict[str, dict[str, int]]:
    """The reputations after this round."""
    known = dict(state.get("reputation") or {})
    for who, _, done in ends:
        have = known.get(who, market.NEW)
        known[who] = {"done": have["done"] + done, "failed": have["failed"] + (not done)}
    return known
