"""What a person sees of runs, threads and patterns, and the JSON that programs get instead."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from motet import screen
from motet.screen import clean, dump, say, show, table, write

COLOURS = {"completed": "green", "degraded": "yellow", "waiting": "cyan", "cancelled": "yellow"}
LONG = 60  # characters of a task in a list
MUCH = 2_000  # characters of one value of a state
EMPTY: tuple[Any, ...] = (None, "", [], {})


def ended(result: Any, as_json: bool) -> None:
    """How a turn ended: its answer, what it cost, and where to go on."""
    if as_json:
        dump(result.plain())
        return
    if result.answer:
        _answer(clean(result.answer))
    say(f"{result.outcome}{': ' + result.reason if result.reason else ''}", COLOURS.get(result.outcome, "red"))
    if len(result.usage) > 1:
        show(usage(result.usage), screen.err)
    if result.models:
        stand_in = " (a stand-in: it only quotes)" if any(m.startswith("offline/") for m in result.models) else ""
        say(f"models     {', '.join(result.models)}{stand_in}")
    if unseen := [c for c in result.citations if c not in result.answer]:
        say(f"sources    {', '.join(unseen)}")
    for question in result.questions:
        say(f"question   {question}", "cyan")
    say(f"thread     {result.thread}")
    if result.report:
        say(f"report     {result.report}")
    if result.questions:
        say(f"answer     motet resume {result.thread} --answer '{_template(result.questions)}'")
    elif result.unfinished:
        say(f"go on      motet resume {result.thread}")


def _answer(text: str) -> None:
    if screen.out.is_terminal:
        from rich.markdown import Markdown  # a tenth of a second that only answers should pay

        screen.out.print(Markdown(text))
        screen.out.print()
    else:
        write(text)


def _template(questions: Sequence[Any]) -> str:
    """An answer to all that is open, to be typed off."""
    said = {
        q.id: {"decisions": [_first(c["allowed_decisions"]) for c in q.request["review_configs"]]} for q in questions
    }
    return json.dumps(said if len(said) > 1 else next(iter(said.values())), ensure_ascii=False)


def _first(allowed: list[str]) -> dict[str, str]:
    return {"type": allowed[0]} | ({"message": "…"} if allowed[0] == "respond" else {})


def usage(used: dict[str, Any]) -> Table:
    """What each agent used."""
    cached = any(u.get("cached") for u in used.values())
    rows = [
        (name, u["calls"], u["tokens_in"], u["tokens_out"], f"${u['cost_microusd'] / 1e6:.4f}")
        + ((u.get("cached", 0),) if cached else ())
        for name, u in used.items()
    ]
    return table("agent", "calls", "tokens in", "tokens out", "cost", *["from cache"] * cached, rows=rows)


def forked(thread: str, branch: str, as_json: bool, *, going: bool) -> None:
    """A branch was made."""
    if not as_json:
        say(f"branch     {branch} of {thread}")
    elif not going:
        dump({"thread": thread, "branch": branch})


def catalogue(entries: Iterable[Any], as_json: bool) -> None:
    """All patterns."""
    if as_json:
        dump([asdict(e) for e in entries])
        return
    for e in entries:
        screen.out.print(f"[bold]{e.name}[/bold]  {e.sentence}", soft_wrap=not screen.out.is_terminal)
        say_out("use when", e.use)
        say_out("cost", e.cost)


def say_out(label: str, text: str) -> None:
    """A labelled line on standard output."""
    screen.out.print(f"  {label:<10}{text}", markup=False, soft_wrap=not screen.out.is_terminal)


LABELS = (
    ("use when", "use"),
    ("not when", "avoid"),
    ("who hears", "talk"),
    ("waits for", "latency"),
    ("cost", "cost"),
)


def pattern(described: dict[str, Any], mermaid: bool, as_json: bool) -> None:
    """One pattern."""
    if as_json:
        dump(described)
        return
    if mermaid or not described["figure"]:
        write(described["mermaid"].strip())
        return
    screen.out.print(
        f"{described['name']}: {described['sentence']}\n\n{described['figure']}\n", markup=False, soft_wrap=True
    )
    for label, key in LABELS:
        if described[key]:
            say_out(label, described[key])
    say_out("calls", f"{described['calls']} model calls, with the agents and options that it runs with by default")
    if described["options"]:
        screen.out.print()
        rows = [(o["name"], "" if o["default"] is None else o["default"], o["type"]) for o in described["options"]]
        show(table("build takes", "default", "type", rows=rows))


def threads(found: list[dict[str, Any]], as_json: bool) -> None:
    """All threads."""
    if as_json:
        dump(found)
        return
    rows = [(t["thread"], t["pattern"], t["outcome"], _moment(t["began"]), _short(t["task"])) for t in found]
    show(table("thread", "pattern", "outcome", "began", "task", rows=rows))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def _short(text: str) -> str:
    one = " ".join(text.split())
    return one if len(one) <= LONG else one[: LONG - 1] + "…"


def history(steps: Iterable[Any], as_json: bool) -> None:
    """The steps of a thread."""
    rows = [
        {
            "at": s.id,
            "step": s.step,
            "when": s.at,
            "next": list(s.next),
            "branch": s.branch,
            "turn": s.turn,
            "outcome": s.outcome,
        }
        for s in steps
    ]
    if as_json:
        dump(rows)
        return
    shown = [(r["at"], r["step"], r["turn"], r["branch"], ", ".join(r["next"]) or "end", r["outcome"]) for r in rows]
    show(table("at", "step", "turn", "branch", "next", "outcome", rows=shown))


def verified(faults: Sequence[str], thread: str, as_json: bool) -> None:
    """What is not as it was saved."""
    if as_json:
        dump({"thread": thread or None, "faults": list(faults)})
    elif not faults:
        say(f"{f'thread {thread}' if thread else 'the database'} is as it was saved", "green")
    for fault in () if as_json else faults:
        write(clean(fault))


def pruned(found: Any, as_json: bool) -> None:
    """What was dropped of a thread."""
    if as_json:
        dump(asdict(found))
        return
    say(f"dropped    {found.dropped} steps of {found.thread}; {found.left} are left, to resume and to fork from")
    say("kept       its record books; the file keeps its size, and uses the room again")


def state(snapshot: Any, records: list[Any], as_json: bool) -> None:
    """One state, and the calls made by then."""
    from motet.nested import namespaces  # brings the engine, which is there already where a state is

    values, inside = {name: _plain(v) for name, v in snapshot.values.items()}, namespaces(snapshot)
    if as_json:
        dump({"values": values, "next": list(snapshot.next), "nested": inside, "records": records})
        return
    for name, value in values.items():
        if name == "usage" and value:
            show(usage(value))
        elif (kept := _filled(value)) not in EMPTY:
            channel(name, kept)
    say_out("next", ", ".join(snapshot.next) or "nothing: the turn is over")
    for n in inside:
        say_out("inside", f"{n['inside']}  {'next ' + ', '.join(n['next']) if n['next'] else ''}")
    if records:
        screen.out.print()
        rows = [
            (f"{r['path']}/{r['visit']}".strip("/"), r["kind"], r["agent"], r["outcome"] or "open", r["latency_ms"])
            for r in records
        ]
        show(table("call", "kind", "agent", "outcome", "ms", rows=rows))


def channel(name: str, value: Any) -> None:
    """One channel: a short value beside its name, each entry of a longer one on a line below it."""
    text = f" {_cut(value)}"
    if isinstance(value, list) and all(isinstance(v, dict) and {"type", "content"} <= v.keys() for v in value):
        text = "".join(f"\n  {v.get('name') or v['type']}: {_cut(v['content'])}" for v in value)
    elif len(text) > LONG and isinstance(value, dict):
        text = "".join(f"\n  {key}: {_cut(v)}" for key, v in value.items())
    elif len(text) > LONG and isinstance(value, list):
        text = "".join(f"\n  - {_cut(v)}" for v in value)
    screen.out.print(Text(f"{name:<11}", style="bold").append(clean(text), style="not bold"), soft_wrap=True)


def _cut(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MUCH else f"{text[:MUCH]}… ({len(text):,} characters; --json shows all)"


def _filled(value: Any) -> Any:
    """A value without what is empty in it."""
    if isinstance(value, dict):
        return {k: f for k, v in value.items() if (f := _filled(v)) not in EMPTY}
    return [_filled(v) for v in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def doctor(found: list[dict[str, Any]], as_json: bool) -> None:
    """What was examined, and how it is."""
    if as_json:
        dump(found)
    else:
        show(table("", "what", "is", rows=[("✓" if f["ok"] else "✗", f["what"], f["is"]) for f in found]))
