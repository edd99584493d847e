"""How what peers say becomes payloads, and what their letters mean to whoever reads them. Pure."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import AIMessage

from state.envelope import Envelope, Fault, MessageKind
from state.mesh import ASKS
from state.task import Task

OTHERWISE = "Say that it cannot be done, and why."

EMPTY: dict[str, Any] = {"open": [], "answers": {}, "news": [], "last": None}
"""The job of a peer that nobody asked: what is open, what was answered for it, what else it heard, and from where."""


def payload(kind: MessageKind, said: Mapping[str, Any], task: Task, *, success: bool = False) -> dict[str, Any]:
    """A message as its schema has it. A task carries the constraints of the whole turn, whoever gives it."""
    if kind == "status":
        done = [words for words in (said["subject"], said["text"]) if words]
        return {"done": done, "blocked": [], "consumed": {}, **said["data"]}
    if kind != "task":
        return {name: value for name, value in said.items() if value}
    details = {"details": said["text"]} if said["subject"] and said["text"] else {}
    return {
        "what": said["subject"] or said["text"] or "?",
        "constraints": task.constraints,
        "success": task.success if success else [],
        "otherwise": task.otherwise or OTHERWISE,
        "context": {**details, **said["data"]},
    }


def result(output: Mapping[str, Any], about: str) -> dict[str, Any]:
    """The payload of an answer: its text, or all of it where it has a form of its own."""
    text = output.get("text")
    if isinstance(text, str) and text:
        return {"subject": about, "text": text, "citations": output.get("citations") or []}
    return {"subject": about, "data": dict(output)}


def fault(what: str, where: str, expected: str) -> dict[str, Any]:
    """The payload of an error that a peer can act on."""
    return Fault(reason="delivery", what=what, where=where, expected=expected, retryable=False).model_dump(mode="json")


def absorbed(job: Mapping[str, Any], mail: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A peer's job with new mail: more is asked, something was answered, or it is news."""
    asked, answers, news = [*job["open"]], dict(job["answers"]), [*job["news"]]
    for letter in mail:
        said = letter["payload"]
        if letter["kind"] in ASKS:
            what = said.get("what") or said.get("subject") or said.get("text") or ""
            asked.append({"from": letter["sender"], "kind": letter["kind"], "what": what, "said": said})
        elif letter["kind"] == "result":
            answers[letter["sender"]] = said.get("text") or said.get("data") or said.get("subject", "")
        else:
            news.append({"from": letter["sender"], "kind": letter["kind"], **said})
    return {**job, "open": asked, "answers": answers, "news": news}


def shown(envelope: Envelope) -> AIMessage:
    """A message as chat clients show it."""
    said = envelope.payload
    text = next((said[name] for name in ("text", "what", "subject", "done", "data") if said.get(name)), "")
    words = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    about = {"to": envelope.recipient, "kind": envelope.kind, "hops": envelope.hops, "causation": envelope.causation}
    return AIMessage(words, name=envelope.sender, id=envelope.id, response_metadata=about)
