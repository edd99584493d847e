"""What a party to a negotiation wants: what each deal is worth to it, and below what it will not go. Private."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Terms = Mapping[str, Any]
Issues = Mapping[str, Sequence[Any]]
Preference = Literal["high", "low"] | list[Any] | dict[str, float]

MOST_DEALS = 5000  # combinations of values that strategies look through at every move


class Interests(BaseModel):
    """The private side of one party. A deal is worth the weighted mean of what its values are worth, 0 to 1."""

    model_config = ConfigDict(extra="forbid")

    prefers: dict[str, Preference] = Field(
        description="By issue: high, low, the values best first, or what each value is worth, 0 to 1"
    )
    weights: dict[str, float] = Field(default_factory=dict, description="By issue; 1 where none is given")
    reservation: float = Field(0, ge=0, le=1, description="No deal that is worth less is accepted")
    limits: dict[str, Any] = Field(default_factory=dict, description="By issue: the worst value that is accepted")


def unsound(issues: Issues) -> str:
    """What is wrong with issues, in words; empty when they can be negotiated."""
    if not issues:
        return "there is no issue"
    for name, values in issues.items():
        if not isinstance(values, list | tuple) or not all(type(v) in (int, float, str) for v in values):
            return f"the values of {name!r} must be a list of numbers or texts"
        if len(set(values)) < max(2, len(values)):
            return f"{name!r} needs at least two values, each once"
    many = prod(len(values) for values in issues.values())
    return f"{many:,} deals are possible, at most {MOST_DEALS:,} are looked through; make values coarser" * (
        many > MOST_DEALS
    )


def unfit(interests: Interests, issues: Issues) -> str:
    """Why interests say nothing sound about these issues; empty when they do."""
    if set(interests.prefers) != set(issues):
        odd = sorted(set(interests.prefers) ^ set(issues))
        return f"`prefers` must name every issue, and no other: {', '.join(odd)}"
    for name, how in interests.prefers.items():
        values = issues[name]
        if isinstance(how, str) and not all(isinstance(v, int | float) for v in values):
            return f"{name!r} has values that are no numbers; list them best first"
        if isinstance(how, list) and (len(how) != len(values) or any(v not in how for v in values)):
            return f"`prefers` must list every value of {name!r} once, best first"
        if isinstance(how, dict) and ({*how} != {str(v) for v in values} or not all(0 <= w <= 1 for w in how.values())):
            return f"`prefers` must say of every value of {name!r} what it is worth, 0 to 1"
    if wrong := [n for n, w in interests.weights.items() if n not in issues or w < 0]:
        return f"the weight of {wrong[0]!r} is below 0, or of no issue"
    if not sum(interests.weights.get(name, 1) for name in issues):
        return "all weights are 0"
    if strange := [n for n, v in interests.limits.items() if n not in issues or v not in issues[n]]:
        return f"the limit of {strange[0]!r} is none of its values"
    return ""


def outside(terms: Terms | None, issues: Issues) -> str:
    """Why terms are no deal on these issues; empty when they are."""
    if not isinstance(terms, Mapping) or set(terms) != set(issues):
        return f"the terms must name {', '.join(issues)}, and nothing else"
    wrong = [name for name in issues if terms[name] not in issues[name]]
    return f"{terms[wrong[0]]!r} is no value of {wrong[0]!r}" if wrong else ""


def deals(issues: Issues) -> list[dict[str, Any]]:
    """Every possible deal, in the order of the values as they were given."""
    return [dict(zip(issues, values, strict=True)) for values in product(*issues.values())]


def utility(terms: Terms, issues: Issues, interests: Interests) -> float:
    """What a deal is worth to a party, 0 to 1."""
    weights = {name: interests.weights.get(name, 1) for name in issues}
    whole = sum(w * _worth(terms[name], issues[name], interests.prefers[name]) for name, w in weights.items())
    return round(whole / sum(weights.values()), 9)


def acceptable(terms: Terms, issues: Issues, interests: Interests) -> bool:
    """Whether a deal is within a party's reservation, and within all its limits."""
    for name, worst in interests.limits.items():
        how = interests.prefers[name]
        if _worth(terms[name], issues[name], how) < _worth(worst, issues[name], how):
            return False
    return utility(terms, issues, interests) >= round(interests.reservation, 9)


def suited(issues: Issues, interests: Interests) -> list[tuple[dict[str, Any], float]]:
    """The deals that a party can accept, each with its worth to it."""
    key = json.dumps([{name: list(values) for name, values in issues.items()}, interests.model_dump(mode="json")])
    return list(_suited(key))


@lru_cache(maxsize=64)
def _suited(key: str) -> tuple[tuple[dict[str, Any], float], ...]:
    issues, given = json.loads(key)
    mine = Interests.model_validate(given)
    return tuple((d, utility(d, issues, mine)) for d in deals(issues) if acceptable(d, issues, mine))


def distance(one: Terms, other: Terms, issues: Issues) -> float:
    """How far two deals are apart: over all issues, the squared part of the list of values between them."""
    steps = (
        (values.index(one[name]) - values.index(other[name])) / (len(values) - 1) for name, values in issues.items()
    )
    return round(sum(step * step for step in steps), 9)


def efficient(utilities: Mapping[str, float], others: Iterable[Mapping[str, float]]) -> bool:
    """Whether none of the other deals is better for somebody and worse for nobody (Pareto)."""
    return not any(
        all(other[p] >= u for p, u in utilities.items()) and any(other[p] > u for p, u in utilities.items())
        for other in others
    )


def concedes(before: Terms, now: Terms, issues: Issues, others: Iterable[Interests]) -> bool:
    """Whether an offer is for none of the others worse than the one before (monotonic concession)."""
    return all(utility(now, issues, other) >= utility(before, issues, other) for other in others)


def _worth(value: Any, values: Sequence[Any], how: Preference) -> float:
    if isinstance(how, dict):
        return float(how[str(value)])
    if isinstance(how, list):
        return 1 - how.index(value) / (len(how) - 1)
    high = (value - min(values)) / (max(values) - min(values))
    return float(high if how == "high" else 1 - high)
