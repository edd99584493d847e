"""One round of a blackboard settled: whose writes stand, who reads again, and whose conflict is resolved. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from state.answers import in_words
from state.arbitration import Rule
from state.blackboard import Bounds, Event, Memory, State, event
from state.board import Seat, fitting, type_of, writes_of
from state.concurrent import same
from state.contest import contest, reconcile, taken
from state.versioned import Value, Write, backoff, compare_and_set, stale


class Settling:
    """The board and what is remembered, as they become while writes are settled one after the other."""

    def __init__(self, seats: Mapping[str, Seat], state: State) -> None:
        self.seats, self.state, self.now = seats, state, state["round"]
        self.board: dict[str, Value] = dict(state.get("board") or {})
        self.memory: dict[str, Memory] = dict(state.get("memory") or {})
        self.newest: list[str] = list(state.get("newest") or ())
        self.revision = state["revision"]
        self.log: list[Event] = []

    def tell(
        self, source: str, what: str, entries: Sequence[str] = (), *, why: str = "", flaw: bool = False, **more: Any
    ) -> None:
        """Add to the log."""
        self.log.append(event(self.now, source, what, entries, why=why, flaw=flaw) | more)

    def put(self, board: Mapping[str, Value], keys: Sequence[str]) -> None:
        """The board has changed in these entries."""
        self.board, self.newest, self.revision = dict(board), list(keys), self.revision + 1

    def update(self) -> dict[str, Any]:
        """What it comes to, as an update of the state."""
        return {
            "board": self.board,
            "memory": self.memory,
            "newest": self.newest,
            "revision": self.revision,
            "log": self.log,
        }


def settle(
    seats: Mapping[str, Seat],
    state: State,
    bounds: Bounds,
    *,
    seed: int,
    rules: Sequence[Rule] = (),
    referred: bool = False,
) -> dict[str, Any]:
    """The update after a round: each chosen source's writes, in order, stand or fall by the versions it read.

    Who lost reads again, later and later; after `max_retries` its conflict goes to the `rules`, or, where
    it is `referred`, into `conflicts` for the resolver. With neither the write is lost, and its source is
    not asked again.
    """
    at = Settling(seats, state)
    lost: dict[str, list[list[Write]]] = {}
    for name in state["chosen"]:
        if beaten := _offer(at, name, bounds, seed, resolved=bool(rules) or referred):
            lost.setdefault("\n".join(sorted(w["key"] for w in beaten)), []).append(beaten)
    conflicts = list(lost.values()) if rules or referred else []
    for changes in conflicts if rules else ():
        board, ruling = reconcile(at.board, changes, rules)
        _resolve(at, board, changes, ruling, fault="" if ruling["by"] else "nothing decides between the writers")
    return at.update() | {
        "activations": (state.get("activations") or 0) + len(state["chosen"]),
        "conflicts": [] if rules else [{"changes": changes} for changes in conflicts],
    }


def refer(
    seats: Mapping[str, Seat], state: State, output: Mapping[str, Any] | None, *, by: str, why: str, numbers: bool
) -> dict[str, Any]:
    """The update after a resolver's word on the first of the conflicts: what a side says, or something new.

    With `numbers` the word is a Ruling. Without an output, for the reason `why`, what is there stays, and
    what lost to it is lost.
    """
    at, (first, *rest) = Settling(seats, state), state["conflicts"]
    changes: list[list[Write]] = first["changes"]
    sides = contest(at.board, changes)
    number = None if output is None else output["number"] - 1 if numbers else _named(sides, output)
    board: Mapping[str, Value] = at.board
    fault = why
    if number is not None:
        known = number < len(sides)
        fault = "" if known else f"{by} named side {number + 1} of {len(sides)}"
        board = taken(at.board, changes, number) if known else at.board
    elif output is not None:
        board, fault = _anew(at, changes, output, by)
    won = same(sides[number]["output"]) if number is not None and not fault else None
    told = [{**s, "won": (ok := same(s["output"]) == won), "why": "" if ok else fault or f"by {by}"} for s in sides]
    _resolve(at, board, changes, {"by": "" if fault else by, "reason": why, "sides": told}, fault=fault)
    return at.update() | {"conflicts": rest}


def _offer(at: Settling, name: str, bounds: Bounds, seed: int, *, resolved: bool) -> list[Write]:
    """What one source wrote, settled; its writes come back where they lost for the last time."""
    offer = at.state["offers"][name]
    mine: Memory = {**at.memory.get(name, {}), "told": "", "seen": -1}
    at.memory[name] = mine
    mine["runs"] = mine.get("runs", 0) + 1
    if offer["output"] is None:
        mine["out"] = offer["reason"] or f"{name} failed"
        at.tell(name, "failed", why=mine["out"], flaw=True)
        return []
    writes, refused = writes_of(at.seats[name], list(at.seats.values()), offer["output"], offer["read"])
    new = [w for w in writes if stale(at.board, [w]) or w["key"] not in at.board or _value(at, w["key"]) != w["value"]]
    keys, weak = [w["key"] for w in new], offer["reason"] if offer["outcome"] != "completed" else ""
    after = compare_and_set(at.board, *new) if new else None
    beaten: list[Write] = []
    if after is not None:
        at.put(after, keys)
        mine["idle"] = mine["tries"] = 0
        at.tell(name, "wrote", keys, why=weak, flaw=bool(weak))
    elif new:
        beaten = _again(at, name, new, bounds, seed, resolved=resolved)
    else:
        mine["idle"], mine["tries"], mine["seen"] = mine.get("idle", 0) + 1, 0, at.state["revision"]
        at.tell(name, "unchanged", why=weak, flaw=bool(weak))
    if refused:
        mine["told"] = "; ".join(refused)
        at.tell(name, "refused", why=f"{name}: {mine['told']}", flaw=True)
    if mine.get("idle", 0) >= bounds.max_idle:
        mine["out"] = f"changed nothing {mine['idle']} times in a row"
        at.tell(name, "stopped", why=mine["out"])
    return beaten


def _again(at: Settling, name: str, new: list[Write], bounds: Bounds, seed: int, *, resolved: bool) -> list[Write]:
    """A write that lost: its source reads again some rounds later, or has tried enough."""
    mine = at.memory[name]
    keys, gone = [w["key"] for w in new], ", ".join(stale(at.board, new))
    mine["tries"] = mine.get("tries", 0) + 1
    wait = backoff(mine["tries"], most=bounds.max_retries, seed=(seed, name))
    if wait is not None:
        mine["until"] = at.now + 1 + int(wait)
        at.tell(name, "retries", keys, why=f"{gone} had changed when it wrote")
        return []
    mine["tries"] = 0
    if not resolved:
        mine["out"] = f"lost {gone} to others {bounds.max_retries + 1} time(s)"
        at.tell(name, "lost", keys, why=f"{name} {mine['out']}", flaw=True)
    return new


def _resolve(
    at: Settling, board: Mapping[str, Value], changes: list[list[Write]], ruling: Mapping[str, Any], *, fault: str
) -> None:
    """The board after a conflict, and every side of it in the log; what nobody resolved is lost."""
    keys = [w["key"] for w in changes[0]]
    if board != at.board:
        at.put(board, keys)
    for writes, side in zip(changes, ruling["sides"][-len(changes) :], strict=True):
        name = writes[0]["by"]
        if fault:
            at.memory[name] = {**at.memory.get(name, {}), "out": fault}
            at.tell(name, "lost", keys, why=f"{name} lost {', '.join(keys)}: {fault}", flaw=True, ruling=ruling)
        else:
            why = f"won by {ruling['by']}" if side["won"] else f"lost {side['why']}"
            at.tell(name, "resolved", keys, why=why, ruling=ruling)


def _named(sides: Sequence[Mapping[str, Any]], output: Mapping[str, Any]) -> int | None:
    """The side that says what a resolver says; the first of equals."""
    said = {same(output), _words(output)}
    return next((s["at"] for s in sides if said & {same(s["output"]), _words(s["output"])}), None)


def _anew(
    at: Settling, changes: list[list[Write]], output: Mapping[str, Any], by: str
) -> tuple[Mapping[str, Value], str]:
    """The board with a resolver's own words in the one entry that was contested, or why they do not fit there."""
    keys = [w["key"] for w in changes[0]]
    if len(keys) > 1:
        return at.board, f"{by} answered with none of the sides, of which each writes {len(keys)} entries"
    typ = type_of(list(at.seats.values()), keys[0])
    value: Any = dict(output)
    if isinstance(output.get("text"), str) and not isinstance(_value(at, keys[0]), dict):
        value = output["text"] if typ in (None, str) else _read(output["text"])
    fit, fault = fitting(typ, keys[0], value)
    if fault:
        return at.board, f"{by} answered with none of the sides, and {fault}"
    read = at.board[keys[0]]["version"] if keys[0] in at.board else 0
    cited = [c for c in output.get("citations") or () if isinstance(c, str)]
    write = Write(key=keys[0], expected=read, value=fit, by=by, evidence=cited)
    return compare_and_set(at.board, write) or at.board, ""


def _value(at: Settling, key: str) -> Any:
    return at.board[key]["value"] if key in at.board else None


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _words(output: Mapping[str, Any]) -> str:
    return " ".join(in_words(output).split())
