"""Changes to shared versioned values that lost too often: the sides of a conflict, and how rules resolve it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from state.arbitration import Rule, decide, foremost, record
from state.versioned import Shared, Value, Write, compare_and_set, version


def contest(shared: Shared, changes: Sequence[Sequence[Write]]) -> list[dict[str, Any]]:
    """Changes that lost, all to the same keys, as sides against what is there: that is side 0, where there is anything.

    Of a single key, the output is what is (to be) written; of several, a mapping. What is there was
    said before what lost to it.
    """
    wanted = [_of({w["key"]: w for w in change}, when=1) for change in changes]
    return [{"at": at, **side} for at, side in enumerate([*_there(shared, changes), *wanted])]


def reconcile(
    shared: Shared, changes: Sequence[Sequence[Write]], rules: Sequence[Rule]
) -> tuple[dict[str, Value], dict[str, Any]]:
    """Resolve changes that lost, all to the same keys: the shared values after it, and the record of all sides.

    What wins is written in its author's name, on top of what is there now; in a tie nothing is.
    """
    sides = contest(shared, changes)
    found = decide(sides, rules)
    best = foremost(found.standing)
    if found.tied:
        return dict(shared), record(sides, found, sides[0]["output"])
    return taken(shared, changes, best["at"]), record(sides, found, best["output"])


def taken(shared: Shared, changes: Sequence[Sequence[Write]], at: int) -> dict[str, Value]:
    """The shared values once that side of a contest has won: what is there already, or one of the changes."""
    first = len(_there(shared, changes))
    if at < first:
        return dict(shared)
    fresh: list[Write] = [{**w, "expected": version(shared, w["key"])} for w in changes[at - first]]
    return compare_and_set(shared, *fresh) or dict(shared)


def _there(shared: Shared, changes: Sequence[Sequence[Write]]) -> list[dict[str, Any]]:
    keys = [w["key"] for w in changes[0]]
    return [_of({k: shared.get(k) for k in keys}, when=0)] if any(k in shared for k in keys) else []


def _of(values: Mapping[str, Any], *, when: float) -> dict[str, Any]:
    said = {k: v and v["value"] for k, v in values.items()}
    one = next(iter(said.values())) if len(said) == 1 else said
    output = one if isinstance(one, dict) else {"text": one} if isinstance(one, str) else {"value": one}
    return {
        "agent": next(v["by"] for v in values.values() if v),
        "output": output,
        "outcome": "completed",
        "reason": "",
        "confidence": output.get("confidence"),
        "when": when,
    }
