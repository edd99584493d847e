"""How a thread stands: what came of its turn, or what it still waits for."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from langgraph.types import StateSnapshot

from graphs.catalog import entry
from motet.register import About
from motet.report import write_report
from runtime.home import files_of
from state.question import worded
from state.record import Record, usage_by_agent
from state.usage import total


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked, under the id by which it is answered."""

    id: str
    request: dict[str, Any]

    def __str__(self) -> str:
        return worded(self.id, self.request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a turn stands: an outcome of the patterns, or `waiting` with its questions.

    `unfinished` says that `resume` goes on with it; `report` is the path of an application's report.
    """

    thread: str
    pattern: str
    outcome: str
    reason: str = ""
    answer: str = ""
    citations: list[str] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    output: dict[str, Any] | None = None
    questions: list[Question] = field(default_factory=list)
    unfinished: bool = False
    branch: str = "main"
    report: str = ""

    def plain(self) -> dict[str, Any]:
        """As plain data, for programs."""
        return asdict(self)


def questions_of(snapshot: StateSnapshot) -> list[Question]:
    """The open questions of a state, nested graphs included."""
    return [Question(i.id, i.value) for i in snapshot.interrupts]


def ended_of(thread: str, about: About, head: StateSnapshot, records: Iterable[Record], *, stopped: str = "") -> Ended:
    """How a thread's newest turn stands, with what its book says it used; writes an application's report."""
    values, questions, outcome = head.values, questions_of(head), about.outcome(head)
    where: dict[str, Any] = {"thread": thread, "pattern": about.name, "branch": values.get("branch") or "main"}
    booked = list(records)
    where["models"] = list(dict.fromkeys(r["model"] for r in booked if r["kind"] == "model" and r["model"]))
    if outcome in ("waiting", "unfinished"):
        used = usage_by_agent(booked)
        return Ended(
            **where,
            outcome="waiting" if questions else "cancelled",
            reason=f"{len(questions)} question(s) to a person" if questions else stopped or "the turn is not over",
            usage={**used, "total": total(used.values())},
            questions=questions,
            unfinished=True,
        )
    answer, known = values.get("answer"), entry(about.name)
    return Ended(
        **where,
        outcome=outcome,
        reason=values.get("reason") or "",
        answer=text_of(answer),
        citations=list((answer or {}).get("citations") or []),
        usage=dict(values.get("usage") or {}),
        output=answer,
        report=_report(values, thread) if answer is not None and known and known.application else "",
    )


def _report(values: dict[str, Any], thread: str) -> str:
    """The path of the report; where it cannot be written the answer still stands."""
    try:
        return str(write_report(values, files_of(thread)))
    except OSError as error:
        return f"not written: {error}"


def text_of(answer: dict[str, Any] | None) -> str:
    """An answer as a text: its own, or all of it as JSON."""
    if answer is None:
        return ""
    text = answer.get("text")
    return text if isinstance(text, str) else json.dumps(answer, ensure_ascii=False)
