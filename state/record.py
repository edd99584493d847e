"""What the book holds, and the views folded from it.

One record stands for one thing that was done: a request to a model, a call of a function or of a
nested graph, a tool run, a question to a person, a message from one agent to another. It is written
when it starts and again when it ends, under one id, so that what was paid for and lost (a killed
process) is still there.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from state.budget import Amount
from state.usage import Usage, total

Kind = Literal["model", "function", "graph", "tool", "human", "note", "message"]


class Record(TypedDict):
    """`at` is seconds since the epoch, `latency_ms` milliseconds, money millionths of a dollar.

    `outcome` is empty while it runs; a record that stays so belongs to a process that died.
    `voice` has short digests of the prompt and the tools. `tokens_in`, `tokens_out` and `cost_microusd` hold
    the reservation until they are known. `hidden` has keyed hashes of what a sensitive agent, or a run with
    one, does not show. Of a message, `agent` is the sender, `to` the recipient, `says` the envelope's kind,
    `causation` the id of the message before it.
    """

    v: int
    id: str
    kind: Kind
    at: float
    agent: str
    path: str
    visit: str
    attempt: int
    task: str
    digest: str
    model: str
    tokens_in: int
    tokens_out: int
    cost_microusd: int
    latency_ms: float
    outcome: str
    owner: NotRequired[str]
    reason: NotRequired[str]
    tier: NotRequired[str]
    pattern: NotRequired[str]
    voice: NotRequired[str]
    content: NotRequired[Any]
    message: NotRequired[dict[str, Any]]
    tool: NotRequired[str]
    args: NotRequired[Any]
    cached: NotRequired[bool]
    sensitive: NotRequired[bool]
    hidden: NotRequired[dict[str, str]]
    by: NotRequired[str]
    to: NotRequired[str]
    says: NotRequired[str]
    causation: NotRequired[str]


def digest(value: Any) -> str:
    """A short stable digest of plain data: 128 bits of BLAKE2b over its canonical JSON, or its text, in hex."""
    if isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def record_id(thread: str, branch: str, turn: int, path: str, visit: str, attempt: int, kind: str) -> str:
    """The same for the same thing on the same branch, in whatever process it is done."""
    text = "\x1f".join((thread, branch, str(turn), path, visit, str(attempt), kind))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def under(records: Iterable[Record], path: str) -> list[Record]:
    """The records at or below a path; an empty path is everything."""
    if not path:
        return list(records)
    return [r for r in records if r["path"] == path or r["path"].startswith(path + "/")]


def usage_by_agent(records: Iterable[Record]) -> dict[str, Usage]:
    """What each agent used, in order of first appearance. A call that was lost counts as a call."""
    out: dict[str, Usage] = {}
    for r in records:
        if r["kind"] not in ("model", "function"):
            continue
        used = out.setdefault(r["agent"], total())
        if r.get("cached"):
            used["cached"] += 1
            continue
        used["calls"] += r["kind"] == "model"
        used["tokens_in"] += r["tokens_in"]
        used["tokens_out"] += r["tokens_out"] if r["outcome"] else 0
        used["cost_microusd"] += r["cost_microusd"] if r["outcome"] else 0
    return out


def spent(records: Iterable[Record]) -> Amount:
    """What counts against a budget: for a lost call, all that had been reserved for it."""
    out = Amount()
    for r in records:
        if r["kind"] == "model" and not r.get("cached"):
            out += Amount(1, r["tokens_in"] + r["tokens_out"], r["cost_microusd"])
    return out


def timeline(records: Iterable[Record]) -> list[Record]:
    """In order of time; ids break ties, so that the order is the same everywhere."""
    return sorted(records, key=lambda r: (r["at"], r["id"]))


def repeated(records: Iterable[Record]) -> list[str]:
    """Visits that finished well more than once: nothing, when no finished call ran again."""
    seen: dict[tuple[str, str], int] = {}
    for r in records:
        if r["kind"] in ("model", "function", "tool") and r["outcome"] == "completed":
            key = (r["path"], r["visit"])
            seen[key] = seen.get(key, 0) + 1
    return sorted(f"{path}/{visit}".strip("/") for (path, visit), n in seen.items() if n > 1)


def plain(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copies without contents: who did what, when and at what price."""
    return [{k: v for k, v in r.items() if k not in ("content", "message", "args")} for r in records]
