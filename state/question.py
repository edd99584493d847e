"""Answers held against the questions that are open, before anything is resumed. Pure decisions."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from state.decision import Decisions, Request, expired, mismatch
from state.errors import InputError
from state.turn import explain

HOW = 'an answer is a JSON object, such as {"decisions": [{"type": "approve"}]}'


def request_of(value: Any) -> Request | None:
    """A question of ours; None for one that a graph of somebody else asks."""
    try:
        return Request.model_validate(value)
    except ValidationError:
        return None


def worded(id_: str, value: Any) -> str:
    """A question in one line: what is asked, under which id, by whom, to do what."""
    request = request_of(value)
    if request is None:
        return f"question {id_}: {json.dumps(value, ensure_ascii=False, default=str)[:400]}"
    actions = (f"{a.name} {json.dumps(a.args, ensure_ascii=False)}" for a in request.action_requests)
    who = f" of {_whose(request)}" if request.agent else ""
    return f"{request.kind} {id_}{who}: {', '.join(actions)}"


def _whose(request: Request) -> str:
    return f"{request.agent} ({request.path})" if request.path else request.agent


def settled(open_: Mapping[str, Any], given: Any, *, now: float, before: Collection[str] = ()) -> dict[str, Any]:
    """Answers by question id, each held against its question. Raises InputError with the reason and what is open.

    `given` is the decisions for the one open question, or a mapping of ids to decisions. An answer by id leaves
    here bound to what was shown. `before` are the answers of this turn that named no question (`plain`): one
    more of the same may be one of them that was sent again, and has to name its question.
    """
    shown = "; ".join(worded(id_, value) for id_, value in open_.items())
    if not open_:
        raise InputError("nothing is asked: leave the answer out")
    foreign = [id_ for id_, value in open_.items() if request_of(value) is None]
    if not foreign and (not isinstance(given, dict) or not given):
        raise InputError(f"{HOW}; open: {shown}")
    by_id = isinstance(given, dict) and "decisions" not in given and not (foreign and not set(given) & set(open_))
    if not by_id and len(open_) > 1:
        raise InputError(f"{len(open_)} questions are open: answer by id, as {{id: {{decisions: […]}}}}; open: {shown}")
    out = {}
    for id_, value in (given if by_id else dict.fromkeys(open_, given)).items():
        if id_ not in open_:
            raise InputError(f"no question {id_!r} is open; open: {shown}")
        if (request := request_of(open_[id_])) is None:
            if value is None:
                raise InputError(f"the answer to {id_} is empty; open: {shown}")
            out[id_] = value
            continue
        try:
            said = Decisions.model_validate(value)
        except ValidationError as error:
            raise InputError(f"the answer to {id_} does not fit: {explain(error)}; open: {shown}") from error
        fault = unfit(request, said, now=now)
        if not (fault or by_id or said.shown) and plain(said) in before:
            fault = "this very answer was given before in this turn: say which question it is for, by its id"
        if fault:
            raise InputError(f"the answer to {id_} does not fit: {fault}; open: {shown}")
        bound = said.model_copy(update={"shown": request.shown}) if by_id else said
        out[id_] = bound.model_dump(mode="json", by_alias=True)
    return out


def unfit(request: Request, said: Decisions, *, now: float, by: str = "") -> str:
    """Why an answer cannot be the answer to a question at this time; empty when it can. `by` as in `mismatch`."""
    if said.shown and request.shown and said.shown != request.shown:
        return "it was given to another question, or to this one before it changed: look at what is asked now"
    if expired(request, now):
        return "the time for it is over: resume without an answer, and what was to count then counts"
    return mismatch(request, said, by=by)


def plain(said: Decisions) -> str:
    """What two answers share that are the same but for the question they name."""
    return json.dumps(said.model_dump(mode="json", exclude={"shown"}), sort_keys=True)


def unnamed(contents: Iterable[Any]) -> set[str]:
    """Those of some recorded answers that named no question, as `plain` has them."""
    found = (Decisions.model_validate(c) for c in contents if isinstance(c, dict) and "decisions" in c)
    return {plain(said) for said in found if not said.shown}
