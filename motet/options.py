"""What a run is given, held against what it can take before anything is saved."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from motet.ended import Question
from runtime import models
from state.context import TIERS, Context
from state.decision import Decisions, Request, mismatch
from state.errors import InputError
from state.turn import explain
from tools.folder import existing

LONGEST_NAME = 200  # characters of a thread's name


def options_of(given: Mapping[str, Any]) -> Context:
    """The run's options with folder and models settled, so that a resume elsewhere finds the same.

    Raises InputError for an unknown or impossible option, a model that cannot be made, or a budget in
    dollars for a model without a price, and DocumentError where there is no such folder.
    """
    try:
        context = Context.model_validate(dict(given))
    except ValidationError as error:
        raise InputError(
            f"the options do not fit: {explain(error)}. Known options: {', '.join(Context.model_fields)}"
        ) from error
    for name in ("max_usd", "max_seconds"):
        if not math.isfinite(getattr(context, name) or 0):
            raise InputError(f"the option {name} must be a number; leave it out where nothing binds")
    names: dict[str, str] = {tier: models.name_of(tier, context) for tier in TIERS}
    for tier, name in names.items():
        try:
            models.model(name)
        except ValueError as error:
            raise InputError(f"the model {name} cannot be made: {error}") from error
        if context.max_usd is not None and models.price_of(name) is None:
            raise InputError(
                f"a budget in dollars needs the price of {name}, which serves as {tier}: add it to the table that "
                "MOTET_PRICES names, or bind the run by tokens"
            )
    folder = context.docs_folder()
    return context.model_copy(update={**names, "docs": str(existing(folder)) if folder else ""})


def named(thread: str) -> str:
    """A thread's name, as given. Raises InputError for one that could not be typed again."""
    if not thread.isprintable() or thread != thread.strip() or not 0 < len(thread) <= LONGEST_NAME:
        raise InputError(
            f"{thread[:LONGEST_NAME]!r} cannot name a thread: take 1 to {LONGEST_NAME} printable characters, "
            "without spaces around them"
        )
    return thread


def answers(questions: Sequence[Question], given: Any) -> dict[str, Any]:
    """Answers by question id, each held against its question. Raises InputError with the reason."""
    by_id = {q.id: q for q in questions}
    shown = "; ".join(map(str, questions))
    if not isinstance(given, dict) or not given:
        raise InputError(f'an answer is a JSON object, such as {{"decisions": [{{"type": "approve"}}]}}; open: {shown}')
    if "decisions" in given and len(by_id) > 1:
        raise InputError(f"{len(by_id)} questions are open: answer by id, as {{id: {{decisions: […]}}}}; open: {shown}")
    if "decisions" in given:
        given = {questions[0].id: given}
    out = {}
    for key, value in given.items():
        if key not in by_id:
            raise InputError(f"no question {key!r} is open; open: {shown}")
        try:
            said, asked = Decisions.model_validate(value), Request.model_validate(by_id[key].request)
        except ValidationError as error:
            raise InputError(f"the answer to {key} does not fit: {explain(error)}; open: {shown}") from error
        if fault := mismatch(asked, said):
            raise InputError(f"the answer to {key} does not fit: {fault}; open: {shown}")
        out[key] = said.model_dump(mode="json")
    return out
