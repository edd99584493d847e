"""A market of 200 bidders and 100 tasks: what its awards cost against the optimal assignment, and how much it talks.

Costs are drawn at random, some bidders refuse, die or answer late. Measured: that no task is awarded twice at
the same time, that no capacity is passed, the cost against the optimum (SciPy's `linear_sum_assignment`, Crouse
2016), and messages for each bidder and task. Once more through the whole graph, at a smaller size.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from graphs import market
from graphs.bidder import bidder
from graphs.bind import bind
from nodes.bidder import Bidder
from state import contract_net as net
from state.agent import Agent
from state.auction import Bid, allocate, lowest_cost
from state.task import Task

SEED, BIDDERS, TASKS = 7, 200, 100
GRAPH_BIDDERS, GRAPH_TASKS = 12, 8
REFUSES, LATE, DIES = 0.2, 0.1, 0.05
FACTOR, TIGHT = 1.5, 2.5  # cost against the optimum, with room to spare and where every place is needed
MESSAGES = 3.5  # call, answer, verdict, and the ends, for each bidder and task of an epoch

Costs = Mapping[tuple[str, str], float]


def drawn(dice: random.Random, bidders: int, tasks: int, kind: str) -> Costs:
    """What each task costs each bidder: independent, or the distance of two places in a square."""
    who, what = [f"b{n:03}" for n in range(bidders)], [f"t{n:03}" for n in range(tasks)]
    if kind == "independent":
        return {(b, t): dice.uniform(1, 100) for b in who for t in what}
    place = {name: (dice.random(), dice.random()) for name in (*who, *what)}
    return {
        (b, t): 100 * sum((p - q) ** 2 for p, q in zip(place[b], place[t], strict=True)) ** 0.5
        for b in who
        for t in what
    }


def optimum(costs: Costs, capacity: Mapping[str, int]) -> float:
    """The least that all tasks can cost together; pairs without a cost are not to be had."""
    from scipy.optimize import linear_sum_assignment  # half a second that only this should pay

    tasks = sorted({t for _, t in costs})
    seats = [b for b, room in sorted(capacity.items()) for _ in range(room)]
    table = [[costs.get((b, t), 1e9) for b in seats] for t in tasks]
    rows, columns = linear_sum_assignment(table)
    return float(sum(table[r][c] for r, c in zip(rows, columns, strict=True)))


class Awards:
    """Who is at work on what, to see that it is never too much."""

    def __init__(self, capacity: Mapping[str, int]) -> None:
        self.capacity, self.working = capacity, dict[str, str]()
        self.twice = self.crowded = 0

    def begin(self, task: str, bidder: str) -> None:
        """Somebody has won a task."""
        self.twice += task in self.working
        self.working[task] = bidder
        self.crowded += list(self.working.values()).count(bidder) > self.capacity[bidder]

    def end(self, task: str) -> None:
        """The work is over, well or not."""
        self.working.pop(task, None)


def negotiated(costs: Costs, capacity: Mapping[str, int], dice: random.Random, *, faults: bool) -> dict[str, Any]:
    """Everything on the market until it is done, over the pure core, with what goes wrong."""
    bidders, tasks = sorted(capacity), sorted({t for _, t in costs})
    refuses = {pair for pair in costs if faults and dice.random() < REFUSES}
    contracts, gone = {t: net.announced(t, bidders, deadline=1.0) for t in tasks}, dict[str, set[str]]()
    awards, done, messages, epochs = Awards(capacity), dict[str, str](), 0, 0
    while contracts:
        epochs += 1
        for task, contract in contracts.items():
            for who in dice.sample(contract["called"], len(contract["called"])):
                kind, at = (
                    "refuse" if (who, task) in refuses else "propose",
                    2.0 if faults and dice.random() < LATE else 0.5,
                )
                said = {"from": who, "kind": kind, "epoch": contract["epoch"], "at": at}
                contract, _ = net.hear(contract, said)
                messages += 2 if at > 1 else 0  # the late answer, and what it is answered
            contracts[task] = contract
        offers = {t: [_offer(who, costs[who, t]) for who in net.proposers(c)] for t, c in contracts.items()}
        picks = allocate(offers, lowest_cost(), room=capacity, load=dict.fromkeys(bidders, 0))
        for task in tasks:
            if task not in contracts:
                continue
            contract = contracts.pop(task)
            contract = net.award(contract, picks[task].bidder, due=9.0) if task in picks else net.close(contract)
            if winner := contract["winner"]:
                awards.begin(task, winner)
                if faults and dice.random() < DIES:
                    contract = net.expire(contract, 10.0)
                    gone.setdefault(task, set()).add(winner)
                else:
                    said = {"from": winner, "kind": "inform", "epoch": contract["epoch"], "at": 2.0}
                    contract, _ = net.hear(contract, said)
                    done[task] = winner
            messages += len(net.conversation(contract))
            if task not in done:
                left = [who for who in bidders if who not in gone.get(task, ())]
                contracts[task] = net.again(contract, left, deadline=1.0)
        for task in tasks:
            awards.end(task)
    open_to = {pair: cost for pair, cost in costs.items() if pair not in refuses}
    return {
        "cost": sum(costs[who, task] for task, who in done.items()),
        "best": optimum(open_to, capacity),
        "twice": awards.twice,
        "crowded": awards.crowded,
        "messages": messages / (len(bidders) * len(tasks)),
        "epochs": epochs,
    }


def _offer(who: str, cost: float) -> dict[str, Any]:
    return {"bidder": who, "cost": cost, "price": None}


async def whole(costs: Costs, capacity: Mapping[str, int]) -> dict[str, Any]:
    """The same through the compiled graph, with bidders who are functions."""
    awards, messages = Awards(capacity), 0

    def one(name: str) -> Bidder:
        async def work(task: Task) -> str:
            awards.begin(task.goal, name)
            await asyncio.sleep(0)
            awards.end(task.goal)
            return "done"

        def bid(task: Task) -> Bid:
            return Bid(cost=costs[name, task.goal])

        return bidder(bind(Agent(name=name, responsibility="Works."), work), bid=bid, capacity=capacity[name])

    tasks = sorted({t for _, t in costs})
    graph = market.build([one(name) for name in sorted(capacity)], rule=lowest_cost())
    found = await graph.ainvoke({"task": {"goal": "all", "context": {"tasks": tasks}}})
    assert found["outcome"] == "completed", found["reason"]
    for lot in found["lots"].values():
        messages += sum(len(net.conversation(c)) for c in [*lot["past"], lot["contract"]])
    return {
        "cost": sum(r["price"] for r in found["answer"]["results"]),
        "best": optimum(costs, capacity),
        "twice": awards.twice,
        "crowded": awards.crowded,
        "messages": messages / (len(capacity) * len(tasks)),
        "epochs": max(lot["contract"]["epoch"] for lot in found["lots"].values()),
    }


def measure() -> list[tuple[str, dict[str, Any], float, float]]:
    """Rows of (what, what was measured, the factor it is held to, seconds)."""
    rows = []
    for kind in ("independent", "places"):
        for faults in (False, True):
            dice = random.Random(SEED)
            costs = drawn(dice, BIDDERS, TASKS, kind)
            capacity = {b: dice.randint(1, 3) for b in sorted({b for b, _ in costs})}
            began = time.perf_counter()
            found = negotiated(costs, capacity, dice, faults=faults)
            name = f"{BIDDERS} x {TASKS}, {kind} costs{', with refusals, delays and deaths' if faults else ''}"
            rows.append((name, found, FACTOR, time.perf_counter() - began))
    for bidders, tasks in ((50, 25), (100, 50), (200, 100), (100, 100)):
        dice = random.Random(SEED)
        costs = drawn(dice, bidders, tasks, "independent")
        began = time.perf_counter()
        found = negotiated(costs, dict.fromkeys(sorted({b for b, _ in costs}), 1), dice, faults=False)
        factor = FACTOR if tasks < bidders else TIGHT
        rows.append((f"{bidders} x {tasks}, one task each", found, factor, time.perf_counter() - began))
    dice = random.Random(SEED)
    costs = drawn(dice, GRAPH_BIDDERS, GRAPH_TASKS, "independent")
    began = time.perf_counter()
    found = asyncio.run(whole(costs, dict.fromkeys(sorted({b for b, _ in costs}), 1)))
    rows.append((f"{GRAPH_BIDDERS} x {GRAPH_TASKS} through the graph", found, FACTOR, time.perf_counter() - began))
    return rows


def holds(found: Mapping[str, Any], factor: float = FACTOR) -> bool:
    """Whether a market did what is promised."""
    kept = found["twice"] == found["crowded"] == 0
    return bool(kept and found["cost"] <= factor * found["best"] and found["messages"] <= MESSAGES * found["epochs"])


def main() -> None:
    table = Table("market", "cost", "optimum", "ratio", "limit", box=None)
    for name in ("twice", "over capacity", "messages a pair", "epochs", "seconds", ""):
        table.add_column(name)
    for name, found, factor, seconds in measure():
        table.add_row(
            name,
            f"{found['cost']:,.0f}",
            f"{found['best']:,.0f}",
            f"{found['cost'] / found['best']:.2f}",
            f"{factor:.2f}",
            str(found["twice"]),
            str(found["crowded"]),
            f"{found['messages']:.2f}",
            str(found["epochs"]),
            f"{seconds:.1f}",
            "" if holds(found, factor) else "over",
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
