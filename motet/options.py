"""What a run is given, held against what it can take before anything is saved."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from runtime import models
from state.context import TIERS, Context
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
    for name in ("max_usd", "max_seconds", "expires"):
        if not math.isfinite(getattr(context, name) or 0):
            raise InputError(f"the option {name} must be a number; leave it out where nothing binds")
    names: dict[str, str] = {tier: models.name_of(tier, context) for tier in TIERS}
    for tier, name in ((t, n) for t in TIERS for n in models.names_of(t, context)):
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


def merged(kept: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A thread's options but for those given anew; a policy that is given leaves those of other scopes as they are."""
    out = {**kept, **given}
    if isinstance(new := given.get("approvals"), dict):
        out["approvals"] = {**kept.get("approvals", {}), **new}
    return out


def named(thread: str) -> str:
    """A thread's name, as given. Raises InputError for one that could not be typed again."""
    if not thread.isprintable() or thread != thread.strip() or not 0 < len(thread) <= LONGEST_NAME:
        raise InputError(
            f"{thread[:LONGEST_NAME]!r} cannot name a thread: take 1 to {LONGEST_NAME} printable characters, "
            "without spaces around them"
        )
    return thread
