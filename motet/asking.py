"""Questions of a run, put to whoever sits at the terminal."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.panel import Panel
from rich.text import Text

from motet import screen
from motet.ended import Question
from state.question import request_of


def somebody() -> bool:
    """Whether a person can read the question and type an answer."""
    return sys.stdin.isatty() and screen.err.is_terminal


def ask(questions: Sequence[Question]) -> dict[str, Any] | None:
    """The answers by question id, action by action; None when the person leaves (Ctrl-C or Ctrl-D)."""
    try:
        return {q.id: _answer(q) for q in questions}
    except (EOFError, KeyboardInterrupt):
        screen.err.print()
        return None


def _answer(question: Question) -> Any:
    """The answer to one question, bound to what is shown; to one of a graph of somebody else's, any JSON."""
    request = question.request
    if request_of(request) is None:
        screen.say(str(question))
        return _json("answer, as JSON: ")
    decisions = _decisions(request)
    named = request.get("requested_by", [])[1:] or any(c.get("approvers") for c in request["review_configs"])
    passes = any(d["type"] != "reject" for d in decisions)
    by = _line("who decides? your name: ") if named and passes else ""
    named_for = {"for": shown} if (shown := request.get("shown")) else {}
    return {"decisions": decisions, "by": by or "terminal", **named_for}


def _decisions(request: dict[str, Any]) -> list[dict[str, Any]]:
    out = []
    for action, config in zip(request["action_requests"], request["review_configs"], strict=True):
        args = json.dumps(action["args"], ensure_ascii=False, indent=1)
        shown = Text(screen.clean(f"{action['description']}\n\n{args}".strip()))
        whose = " · ".join(filter(None, (request.get("path"), request.get("agent"), action["name"])))
        title = Text(screen.clean(f"{request['kind']}: {whose}"))
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
            if isinstance(args := _json("new arguments, as JSON: "), dict):
                return {"type": "edit", "args": args}
            screen.say('arguments are a JSON object, such as {"to": "ann"}', "yellow")


def _json(prompt: str) -> Any:
    """What is typed, as data; asked again until it is JSON."""
    while True:
        try:
            return json.loads(_line(prompt))
        except ValueError as error:
            screen.say(f"that is no JSON: {error}", "yellow")


def _line(prompt: str) -> str:
    screen.err.print(prompt, end="", style="bold", markup=False)
    return input().strip()
