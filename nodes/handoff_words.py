"""What whoever has control of a conversation is shown, and how what happened before is told to the next."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage, messages_from_dict

from nodes.turn import EARLIER
from state.handoff import PREFIX, USER, Move, Rules, State, Words, chosen, is_transfer
from state.task import Task
from state.turn import KEPT, task_of

SHOWN = 20  # of what agents said, this many of the newest are shown
LONGEST = 2000  # characters of each of them

PART = (
    "You have control of this conversation. Answer the user, or hand the conversation over when somebody else "
    "should have it; say then what is still open. Do not hand it back without something new."
)
INSTEAD = "one transfer is enough: the first one counts"
LAST = "This is your last step: no tools and no handing over any more. Answer now, and say what is missing."


def shown(state: State, rules: Rules, targets: Mapping[str, str], *, thinks: bool, last: bool) -> Task:
    """The user's task, with as much of what was said before as the options let through."""
    task: dict[str, Any] = dict(state["task"] or {})  # type: ignore[arg-type]  # settled: it is a mapping
    words, floor = words_of(state), state.get("floor") or {}
    context = {name: value for name, value in task["context"].items() if name != EARLIER}
    if targets:
        context["your part"] = PART
    if targets and not thinks:  # a model is told by its tools
        context["you may hand over to"] = {f"{PREFIX}{to}": does for to, does in targets.items()}
    summary = floor.get("summary")
    if summary:
        words = chosen(words, lambda _: [{"from": "summary", "text": summary}])
    elif rules.choose is not None:
        words = chosen(words, rules.choose)
    if words:
        context[EARLIER] = words
    if floor.get("case") and (summary or rules.choose or not thinks):  # else the last words say it
        context["handed over"] = floor["case"]
    if floor.get("refused"):
        context["your last transfer was refused"] = floor["refused"]
    last_words = [LAST] if last else []
    return Task.model_validate({**task, "turn": 0, "context": context, "constraints": task["constraints"] + last_words})


def words_of(state: State) -> Words:
    """What people said, and the newest of what agents said, but for the message that began this turn.

    Where this is an agent of another pattern, the conversation before is the one that it was handed.
    """
    before = [m for m in (state.get("messages") or [])[-2 * KEPT :] if m.id != state.get("asked")]
    said = [*before, *(state.get("talk") or [])[-SHOWN:]]
    left_out = {id(m) for m in [m for m in said if m.type != "human"][:-SHOWN]}
    return [
        *([] if before else _handed(task_of(state).context.get(EARLIER))),
        *(_word(m) for m in said if id(m) not in left_out),
    ]


def told(by: str, words: str, case: dict[str, Any], n: int) -> AIMessage:
    """A transfer in words, as whoever comes next reads it."""
    line = f"{words.strip()}\n" if words.strip() else ""
    line += f"(hands over to {case['to']}: {case['reason']}"
    line += f"; still open: {case['open']}" if case["open"] else ""
    line += f"; not to {case['instead of']}, as only one can have it" if "instead of" in case else ""
    line += f"; {case['because']}" if "because" in case else ""
    return AIMessage(line + ")", name=by, id=f"transfer-{n}")


def found(scratch: Sequence[AnyMessage], by: str) -> list[AIMessage]:
    """What the tools of an agent brought, for whoever comes next."""
    return [
        AIMessage(f"({m.name} brought: {m.text[:LONGEST]})", name=by, id=f"talk-{m.id}")
        for m in scratch
        if isinstance(m, ToolMessage) and m.status == "success" and not is_transfer({"name": m.name})
    ]


def tidy(message: Mapping[str, Any] | None, ident: str) -> AIMessage:
    """A model's message under an id of ours, each of its calls with an id of its own: results refer to them."""
    (said,) = messages_from_dict([dict(message or {})])
    assert isinstance(said, AIMessage)
    ids = [c["id"] for c in said.tool_calls]
    calls = [
        {**c, "id": c["id"] if c["id"] and c["id"] not in ids[:n] else f"{ident}-{n}"}
        for n, c in enumerate(said.tool_calls)
    ]
    return said.model_copy(update={"id": ident, "tool_calls": calls})


def results(said: AIMessage, move: Move, turn: int, ran: Sequence[AnyMessage] = ()) -> list[AnyMessage]:
    """One result for each call of a batch, in its order: of the tools that ran, and what became of transfers."""
    left = iter(ran)
    return [_refused(c, n, move, turn) if is_transfer(c) else next(left) for n, c in enumerate(said.tool_calls)]


def _refused(wanted: Mapping[str, Any], n: int, move: Move, turn: int) -> ToolMessage:
    text = move.faults.get(n) or INSTEAD
    return ToolMessage(text, tool_call_id=wanted["id"], name=wanted["name"], id=f"transfer-{turn}-{n}", status="error")


def _word(message: AnyMessage) -> dict[str, str]:
    said = message.content
    text = said if isinstance(said, str) else message.text  # which is slow
    if message.type == "human":
        return {"from": USER, "text": text} | ({"name": message.name} if message.name else {})
    return {"from": message.name or "assistant", "text": text[:LONGEST]}


def _handed(said: Any) -> Words:
    """A conversation that came with the task, in the form of ours, or in words."""
    if isinstance(said, list):
        return [w for w in said if isinstance(w, dict) and w.keys() >= {"from", "text"}]
    return [{"from": USER, "text": said}] if isinstance(said, str) else []
