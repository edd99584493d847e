"""Questions of a run, put to whoever sits at the terminal."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.panel import Panel
from rich.text import Text

from motet import screen
from motet.ended import Question


def somebody() -> bool:
    """Whether a person can read the question and type an answer."""
    return sys.stdin.isatty() and screen.err.is_terminal


def ask(questions: Sequence[Question]) -> dict[str, Any] | None:
    """The answers by question id, action by action; None when the person leaves (Ctrl-C or Ctrl-D)."""
    try:
        return {q.id: {"decisions": _decisions(q.request), "by": "terminal"} for q in questions}
    except (EOFError, KeyboardInterrupt):
        screen.err.print()
        return None


def _decisions(request: dict[str, Any]) -> list[dict[str, Any]]:
    out = []
    for action, config in zip(request["action_requests"], request["review_configs"], strict=True):
        args = json.dumps(action["args"], ensure_ascii=False, indent=1)
        shown = Text(screen.clean(f"{action['description']}\n\n{args}".strip()))
        title = Text(screen.clean(f"{request['kind']}: {action['name']}"))
        screen.err.print(Panel(shown, title=title, title_align="left", border_style="cyan"))
        out.append(_decision(config["allowed_decisions"]))
    return out


def _decision(allowed: list[str]) -> dict[str, Any]:
    """One decision; whatever does not fit is asked again."""
    while True:
        word = _line(f"{', '.join(allowed[:-1])} or {allowed[-1]}? " if len(allowed) > 1 else f"{allowed[0]}? ").lower()
        kind = next((a for a in allowed if word and a.startswith(word)), None)
        if kind == "approve":
            return {"type": "approve"}
        if kind == "reject":
            return {"type": "reject", "message": _line("why? ")}
        if kind == "respond" and (said := _line("answer: ")):
            return {"type": "respond", "message": said}
        if kind == "edit":
            try:
                args = json.loads(_line("new arguments, as JSON: "))
            except ValueError as error:
                screen.say(f"that is no JSON: {error}", "yellow")
                continue
            if isinstance(args, dict):
                return {"type": "edit", "args": args}
            screen.say('arguments are a JSON object, such as {"to": "ann"}', "yellow")


def _line(prompt: str) -> str:
    screen.err.print(prompt, end="", style="bold", markup=False)
    return input().strip()
