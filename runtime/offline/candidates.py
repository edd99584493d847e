"""What a prompt puts up for a choice: numbered answers, options by name, and those who could do something. Pure."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runtime.offline.evidence import ADMITTED, Evidence, found, listed
from runtime.offline.figures import told
from runtime.offline.planning import figures
from runtime.offline.text import flat
from runtime.offline.worth import demand_of

GROUPS = ("answers", "results", "candidates", "options", "sides", "drafts", "proposals", "choices")
NUMBERED = re.compile(r"(?:\w+[ _-])?(\d{1,3})")
TEAMS = ("workers", "participants", "peers", "agents", "team", "members", "specialists", "roles")
PLANS = (*TEAMS, "plan", "instructions", "task", "goal", "question", "part of")  # name people who have not spoken


def numbered(evidence: Evidence) -> dict[int, Any]:
    """The candidates by number: of a section that lists them, or of sections that are called by numbers."""
    for name, text in evidence.sections.items():
        value = _parsed(text)
        if name.lower() not in GROUPS:
            continue
        if isinstance(value, dict) and value and all(k.isdigit() for k in value):
            return {int(k): v for k, v in value.items()}
        if isinstance(value, list):
            return dict(enumerate(value, 1))
    found = [(m[1], text) for name, text in evidence.sections.items() if (m := NUMBERED.fullmatch(name))]
    return {int(n): _parsed(text) for n, text in found} if len(found) > 1 else {}


def options(evidence: Evidence) -> list[str]:
    """The names or texts among which the prompt asks for a choice."""
    for name, text in evidence.sections.items():
        value = _parsed(text)
        if name.lower() in GROUPS and isinstance(value, dict):
            return list(value)
        if name.lower() in GROUPS and isinstance(value, list) and all(isinstance(v, str) for v in value):
            return value
    return []


def best(evidence: Evidence, offered: Mapping[int, Any]) -> int | None:
    """The number of the candidate that says something, computed what was to be computed, and speaks of most."""
    demand = demand_of(evidence.question, [], {}, 0)

    def worth(number: int) -> tuple[bool, bool, float, bool]:
        text, value = words_of(offered[number]), offered[number]
        computed = figures(evidence.question) and bool(told(_holding(value)))
        return ADMITTED not in text, computed, round(demand.met(text), 2), "#" in text

    return max(sorted(offered), key=worth, default=None)


def alike(offered: Iterable[Any]) -> bool:
    """Whether all candidates say the same, or all say that they found nothing."""
    texts = [words_of(value) for value in offered]
    said = {"" if text.startswith(ADMITTED) else flat(text).lower() for text in texts}
    return len(texts) > 1 and len(said) == 1


def words_of(value: Any) -> str:
    """A candidate in words: its text, wherever it stands, else all of it as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        inner = next((value[k] for k in ("text", "answer", "output", "content") if value.get(k)), None)
        if inner is not None:
            return words_of(inner)
    return json.dumps(value, ensure_ascii=False)


def described(evidence: Evidence) -> list[tuple[str, str]]:
    """Who could be given work, with what each is for, as the prompt says."""
    texts = [evidence.orders, *evidence.sections.values(), evidence.question]
    return [pair for text in texts for pair in listed(text)]


def team(evidence: Evidence) -> list[tuple[str, str]]:
    """Those of a section that is about them."""
    return [pair for name, text in evidence.sections.items() if name.lower() in TEAMS for pair in listed(text)]


def unheard(evidence: Evidence, workers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those whose names stand nowhere in what was said so far."""
    said = " ".join(text for name, text in evidence.sections.items() if name.lower() not in PLANS)
    return [w for w in workers if not re.search(rf"\b{re.escape(w[0])}\b", said)]


def _holding(value: Any) -> Evidence:
    """What a candidate holds, as evidence of its own."""
    return Evidence(passages=list(found(value, default="given#candidate")))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
