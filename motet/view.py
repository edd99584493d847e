"""What a person sees at the command line, and the JSON that programs get instead."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

COLOURS = {"completed": "green", "degraded": "yellow", "waiting": "cyan", "cancelled": "yellow"}


def say(text: str, style: str = "") -> None:
    """A line on standard error, never taken for markup."""
    err.print(text, style=style or None, markup=False, soft_wrap=True)


def dump(value: Any) -> None:
    """Plain JSON on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=1, default=str)
    sys.stdout.write("\n")


def table(*columns: str, rows: Iterable[Sequence[Any]], title: str = "") -> Table:
    """A plain table; numbers to the right."""
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    rows = [tuple(row) for row in rows]
    for n, column in enumerate(columns):
        number = bool(rows) and all(isinstance(row[n], int | float) for row in rows)
        made.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        made.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row))
    return made


class Progress:
    """Live progress per agent on standard error: a table on a terminal, a line per call elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.agents: dict[str, dict[str, int]] = {}
        self.live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.pause()

    def show(self, event: dict[str, Any]) -> None:
        """Take in one event of the door: a call began, or ended."""
        if self.quiet or "agent" not in event:
            return
        seen = self.agents.setdefault(event["agent"], {"running": 0, "done": 0})
        seen["running"] += 1 if event["call"] == "started" else -1
        seen["done"] += event["call"] == "ended"
        if not err.is_terminal:
            if event["call"] == "ended":
                say(f"  {event['agent']}: call {seen['done']} done")
            return
        if self.live is None:
            self.live = Live(console=err, refresh_per_second=8, transient=True)
            self.live.start()
        rows = [(name, "…" * s["running"] or "·", s["done"]) for name, s in self.agents.items()]
        self.live.update(table("agent", "working", "calls", rows=rows))

    def pause(self) -> None:
        """Leave the terminal to somebody else."""
        if self.live is not None:
            self.live.stop()
            self.live = None


def ended(result: Any, as_json: bool) -> None:
    """How a turn ended: answer, what it cost, and where to go on."""
    if as_json:
        dump(result.plain())
        return
    if result.answer:
        out.print(Markdown(result.answer) if out.is_terminal else result.answer, markup=False, soft_wrap=True)
        out.print()
    colour = COLOURS.get(result.outcome, "red")
    say(f"{result.outcome}{': ' + result.reason if result.reason else ''}", style=colour)
    if result.usage:
        rows = [
            (name, u["calls"], u["tokens_in"], u["tokens_out"], f"${u['cost_microusd'] / 1e6:.6f}")
            for name, u in result.usage.items()
        ]
        err.print(table("agent", "calls", "tokens in", "tokens out", "cost", rows=rows))
    for question in result.questions:
        request = question.request
        asked = "\n".join(
            f"{a['name']} {json.dumps(a['args'], ensure_ascii=False)}" for a in request["action_requests"]
        )
        err.print(Panel(asked, title=f"{request['kind']} {question.id}", title_align="left"))
    say(f"thread  {result.thread}")
    if result.report:
        say(f"report  {result.report}")
    if result.outcome == "waiting":
        say(f'answer  motet resume {result.thread} --answer \'{{"decisions": [{{"type": "approve"}}]}}\'')
    elif result.outcome == "cancelled":
        say(f"go on   motet resume {result.thread}")


def decide(questions: Sequence[Any]) -> dict[str, Any]:
    """Ask whoever sits at the terminal, action by action."""
    answers = {}
    for question in questions:
        request, decisions = question.request, []
        for action, config in zip(request["action_requests"], request["review_configs"], strict=True):
            args = json.dumps(action["args"], ensure_ascii=False, indent=1)
            err.print(Panel(f"{action['description']}\n{args}", title=f"{request['kind']}: {action['name']}"))
            decisions.append(_decision(config["allowed_decisions"]))
        answers[question.id] = {"decisions": decisions, "by": "terminal"}
    return answers


def _decision(allowed: list[str]) -> dict[str, Any]:
    while True:
        word = err.input(f"{' / '.join(allowed)}? ").strip().lower()
        kind = next((a for a in allowed if word and a.startswith(word)), None)
        if kind in ("approve", "reject"):
            return {"type": kind, "message": err.input("why? ").strip() if kind == "reject" else ""}
        if kind == "respond" and (said := err.input("answer: ").strip()):
            return {"type": "respond", "message": said}
        if kind == "edit":
            try:
                return {"type": "edit", "args": json.loads(err.input("new arguments, as JSON: "))}
            except ValueError as error:
                say(f"that is no JSON: {error}")


def catalogue(entries: Iterable[Any], as_json: bool) -> None:
    """All patterns."""
    if as_json:
        dump([asdict(e) for e in entries])
    else:
        out.print(
            table(
                "pattern",
                "what it does",
                "use it when",
                "cost in model calls",
                rows=[(e.name, e.sentence, e.use, e.cost) for e in entries],
            )
        )


def pattern(described: dict[str, Any], as_json: bool) -> None:
    """One pattern."""
    if as_json:
        dump(described)
        return
    out.print(f"{described['name']}: {described['sentence']}\n", markup=False)
    out.print(described["figure"], markup=False)
    rows = [(o["name"], o["default"], o["type"]) for o in described["options"]]
    out.print(table("option", "default", "type", rows=rows))
    out.print(
        f"\nuse it when {described['use']}\nnot when    {described['avoid']}\ncost        {described['cost']}\n",
        markup=False,
    )
    out.print(Syntax(described["mermaid"], "text", background_color="default"))


def threads(found: list[dict[str, Any]], as_json: bool) -> None:
    """All threads."""
    if as_json:
        dump(found)
    else:
        rows = [(t["thread"], t["name"], t.get("outcome") or "unfinished", t["task"][:60]) for t in found]
        out.print(table("thread", "pattern", "outcome", "task", rows=rows))


def history(snapshots: list[Any], as_json: bool) -> None:
    """The steps of a thread."""
    rows = [
        {
            "at": s.config["configurable"]["checkpoint_id"],
            "step": (s.metadata or {}).get("step"),
            "when": s.created_at,
            "next": list(s.next),
            "branch": s.values.get("branch") or "main",
            "turn": s.values.get("turn") or 0,
            "outcome": s.values.get("outcome") or "",
        }
        for s in snapshots
    ]
    if as_json:
        dump(rows)
        return
    shown = [(r["at"], r["step"], r["turn"], r["branch"], ", ".join(r["next"]) or "end", r["outcome"]) for r in rows]
    out.print(table("at", "step", "turn", "branch", "next", "outcome", rows=shown))


def state(snapshot: Any, records: list[Any], as_json: bool) -> None:
    """One state, and the calls of its turn."""
    nested = list(_nested(snapshot))
    if as_json:
        dump({"values": _plain(snapshot.values), "next": list(snapshot.next), "nested": nested, "records": records})
        return
    out.print_json(json.dumps(_plain(snapshot.values), ensure_ascii=False, default=str))
    say(f"next: {', '.join(snapshot.next) or 'nothing, the turn is over'}")
    for n in nested:
        say(f"inside {n['inside']}: next {', '.join(n['next'])}")
    rows = [
        (f"{r['path']}/{r['visit']}".strip("/"), r["kind"], r["agent"], r["outcome"] or "lost", r["latency_ms"])
        for r in records
    ]
    out.print(table("visit", "kind", "agent", "outcome", "ms", rows=rows))


def doctor(found: list[dict[str, Any]], as_json: bool) -> None:
    """What was examined, and how it is."""
    if as_json:
        dump(found)
    else:
        out.print(table("what", "is", "", rows=[(f["what"], f["is"], "" if f["ok"] else "✗") for f in found]))


def _nested(snapshot: Any) -> Iterable[dict[str, Any]]:
    for task in snapshot.tasks:
        inner = task.state
        if inner is not None and hasattr(inner, "tasks"):
            yield {
                "inside": inner.config["configurable"]["checkpoint_ns"],
                "at": inner.config["configurable"].get("checkpoint_id", ""),
                "next": list(inner.next),
            }
            yield from _nested(inner)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(v) for v in value]
        return value.model_dump(mode="json") if hasattr(value, "model_dump") else value

    return {name: one(value) for name, value in values.items()}
