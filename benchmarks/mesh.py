"""A mesh of 100 peers on a bad wire: mailboxes, quiescence, deadlocks and loops against what was planted.

Messages are dropped (and sent again until they arrive), doubled and reordered. The senders know what
they sent, so that every promise of the pure core can be counted: exactly once, in order per sender,
nothing left at quiescence. Then waits and conversations are drawn at random, some cycles are planted,
and what is found is held against a search of its own.
"""

import random
from itertools import pairwise
from typing import Any

from state.deadlock import cycle, settle, stuck, wait
from state.envelope import Envelope, message_id
from state.mailbox import deliver, empty, gaps, take
from state.mesh import between, lap

PEERS, MESSAGES, SEEDS = 100, 2000, 5
DROP, DOUBLE = 0.2, 0.1  # of every try to send


def letters(dice: random.Random) -> list[dict[str, Any]]:
    """Random traffic of every peer with three others, numbered per sender and conversation."""
    names = [f"p{n:02}" for n in range(PEERS)]
    knows = {name: dice.sample([other for other in names if other != name], 3) for name in names}
    counts: dict[tuple[str, str], int] = {}
    out = []
    for _ in range(MESSAGES):
        sender = dice.choice(names)
        to = dice.choice(knows[sender])
        conversation = between(1, sender, to)
        number = counts[sender, to] = counts.get((sender, to), 0) + 1
        one = Envelope(
            id=message_id(conversation, sender, number),
            conversation=conversation,
            sender=sender,
            recipient=to,
            kind="event",
            sequence=number,
        )
        out.append(one.plain)
    return out


def traffic(seed: int) -> dict[str, int]:
    """Send everything over the bad wire until nothing is in flight and no mailbox has a gap; count what was read."""
    dice = random.Random(seed)
    sent = letters(dice)
    by_number = {(one["sender"], one["conversation"], one["sequence"]): one for one in sent}
    boxes = {f"p{n:02}": empty() for n in range(PEERS)}
    read: list[dict[str, Any]] = []
    wire, copies = [*sent], list[dict[str, Any]]()
    tries = dropped = doubled = held = 0
    while wire or copies:
        arrived: dict[str, list[dict[str, Any]]] = {}
        for one in copies:  # they come when the wire has carried others since
            arrived.setdefault(one["recipient"], []).append(one)
        copies = []
        for one in wire:
            tries += 1
            if dice.random() < DROP:
                dropped += 1
                continue
            arrived.setdefault(one["recipient"], []).append(one)
            copies += [one] * (dice.random() < DOUBLE)
        doubled += len(copies)
        for name, some in arrived.items():
            dice.shuffle(some)
            boxes[name], verdicts = deliver(boxes[name], some)
            held += verdicts.count("held")
            boxes[name], taken = take(boxes[name])
            read += taken
        acknowledged = {one_id for box in boxes.values() for one_id in box["seen"]}
        wire = [one for one in sent if one["id"] not in acknowledged]
        asked = [g for box in boxes.values() for g in gaps(box)]
        missing = {(g.sender, g.conversation, n) for g in asked for n in g.missing}
        assert missing <= {key for key, one in by_number.items() if one["id"] not in acknowledged}
    order: dict[tuple[str, str], list[int]] = {}
    for one in read:
        order.setdefault((one["sender"], one["recipient"]), []).append(one["sequence"])
    return {
        "sent": len(sent),
        "dropped": dropped,
        "doubled": doubled,
        "tries": tries,
        "held back": held,
        "read": len(read),
        "read twice": len(read) - len({one["id"] for one in read}),
        "out of order": sum(numbers != sorted(numbers) for numbers in order.values()),
        "left at quiescence": sum(bool(box["ready"] or box["held"]) for box in boxes.values()),
    }


def rings(dice: random.Random) -> list[list[str]]:
    """Ten groups of 2 to 6 peers, apart from each other."""
    names = [f"p{n:02}" for n in range(PEERS)]
    dice.shuffle(names)
    return [[names.pop() for _ in range(dice.randint(2, 6))] for _ in range(10)]


def deadlocks(seed: int) -> dict[str, int]:
    """Harmless waits (only for those earlier in the alphabet), with and without rings planted among them."""
    dice = random.Random(seed)
    planted = rings(dice)
    inside = {name for ring in planted for name in ring}
    waits: dict[str, Any] = {}
    reported = invented = 0
    for n in range(1, PEERS):
        name = f"p{n:02}"
        if name in inside or dice.random() < 0.3:
            continue
        on = [other for other in (f"p{m:02}" for m in range(n)) if other not in inside]
        if on:
            some, any_of = dice.sample(on, min(len(on), 3)), dice.random() < 0.5
            waits, found = wait(waits, name, some, any_of=any_of)
            invented += bool(found)
    invented += bool(cycle(waits))
    for ring in planted:
        for name, other in zip(ring, [*ring[1:], ring[0]], strict=True):
            waits, found = wait(waits, name, [other])
        reported += sorted(found) == sorted(ring)
    _, broken = settle(waits)
    expected = sorted(sorted(ring) for ring in planted)
    return {
        "planted": len(planted),
        "reported at once": reported,
        "found and broken": sum(sorted(one.cycle) in expected for one in broken),
        "invented": invented + len(broken) - len(planted) + len(stuck(settle(waits)[0])),
    }


def loops(seed: int, laps: int = 3) -> dict[str, int]:
    """Conversations that wander, and some that go round planted rings in ever other words."""
    dice = random.Random(seed)
    found = invented = early = 0
    planted = rings(dice)
    for ring in planted:
        start = [[f"q{n}", f"q{n + 1}", f"{n}"] for n in range(dice.randint(0, 4))]
        steps = [[a, b] for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)] * laps
        trail = [*start, *([*step, f"word {n}"] for n, step in enumerate(steps))]
        early += any(lap(trail[:n], laps) for n in range(len(trail)))
        found += sorted(lap(trail, laps)) == sorted(ring)
    for _ in range(200):
        path = [f"p{n:02}" for n in dice.sample(range(PEERS), 12)]
        trail = [[a, b, f"{n}"] for n, (a, b) in enumerate(pairwise(path))]
        invented += bool(lap(trail, laps))
    return {"planted": len(planted), "found": found, "too early": early, "invented": invented}


def measure() -> dict[str, dict[str, int]]:
    """The counts of all seeds together."""
    out: dict[str, dict[str, int]] = {}
    for what, count in (("traffic", traffic), ("deadlocks", deadlocks), ("loops", loops)):
        runs = [count(seed) for seed in range(SEEDS)]
        out[what] = {name: sum(run[name] for run in runs) for name in runs[0]}
    return out


def main() -> None:
    """Print the tables."""
    print(f"{PEERS} peers, {SEEDS} seeds, {DROP:.0%} dropped, {DOUBLE:.0%} doubled, all reordered")
    for what, counts in measure().items():
        print(f"\n{what}")
        for name, count in counts.items():
            print(f"  {name:<20} {count:>7,}")


if __name__ == "__main__":
    main()
