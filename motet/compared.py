"""What a person sees of two runs held against each other, and of one that was replayed."""

import json
from typing import Any

from motet.difference import Differs
from motet.replayed import Replayed
from motet.screen import clean, dump, out, say, show, table
from state.comparison import Pair

SHORT = 60  # characters of one value


def difference(differs: Differs, as_json: bool) -> None:
    """Where two runs part, then each step and call that differs, and what both cost."""
    found, a, b = differs.found, differs.a, differs.b
    if as_json:
        dump({"a": a, "b": b, **found})
        return
    if found["same"]:
        out.print(f"{a} and {b} are the same: {len(found['steps'])} steps", markup=False, soft_wrap=True)
        return
    first = found["first"]
    out.print(
        f"first      {_where(first)}" if first else "first      only the calls differ", markup=False, soft_wrap=True
    )
    rows = [row for pair in found["steps"] for row in _rows(pair)]
    if rows:
        show(table("inside", "step", "what", a, b, rows=rows))
    calls = [(at, *(_call(c) for c in pair)) for at, pair in found["calls"].items()]
    if calls:
        show(table("call", a, b, rows=calls))
    costs = [f"{c['calls']} calls, {c['tokens']} tokens, ${c['cost_microusd'] / 1e6:.4f}" for c in found["cost"]]
    show(table("", a, b, rows=[("cost", *costs)]))


def replayed(found: Replayed, as_json: bool) -> None:
    """Whether a run is what it was, and where it parts from that."""
    if as_json:
        dump(found.plain())
        return
    say(f"replayed   {found.run}: {found.steps} steps, {found.answered} answers from the record, no call made")
    for change in found.changed:
        say(f"changed    {change}", "yellow")
    if found.same:
        say(f"same       {found.outcome or 'as far as the run got'}", "green")
        return
    where = f"{_where(found.at)}: " if found.at else ""
    say(f"parts      {where}{clean(found.parted)}", "red")


def _where(pair: Pair) -> str:
    inside = f" inside {pair['inside']}" if pair["inside"] else ""
    ran = ", ".join(pair["ran"][1] or pair["ran"][0] or ())
    return f"step {pair['number']} ({ran}){inside}"


def _rows(pair: Pair) -> list[tuple[str, int, str, str, str]]:
    if pair["differs"] == "routing":
        was, now = (", ".join(ran) if ran is not None else "-" for ran in pair["ran"])
        return [(pair["inside"], pair["number"], "runs", was, now)]
    return [(pair["inside"], pair["number"], n, _short(was), _short(now)) for n, (was, now) in pair["wrote"].items()]


def _call(call: Any) -> str:
    if call is None:
        return "-"
    return f"{call['outcome'] or 'open'}, {call['tokens']} tokens: {_short(call['answer'])}"


def _short(value: Any) -> str:
    text = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"
