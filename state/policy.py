"""When a tool waits for a person: policies by agent and tool, as a run's options name them. Pure decisions.

    auto                                           it runs
    deny                                           it does not
    ask                                            a person decides
    ask above amount 100                           a person decides where the argument `amount` is above 100
    ask by ann,bob within 3600 else reject         one of these, within an hour; else it counts as rejected

Of the scopes that fit a call the most specific counts: "agent.tool", then "tool" and "agent", then "*". Of
two that are equally specific the stricter counts: deny before ask, ask before "ask above", that before auto.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Answer = Literal["auto", "ask", "deny"]

HOW = "write auto, deny, or ask [above ARGUMENT NUMBER] [by NAME,NAME] [within SECONDS [else approve|reject]]"

_NAME = r"[A-Za-z_][\w-]*"
_SCOPE = re.compile(rf"\*|{_NAME}(\.{_NAME})?")
_POLICY = re.compile(
    r"(?P<answer>auto|deny|ask)"
    rf"( above (?P<argument>{_NAME}) "
    r"(?P<above>-?\d{1,15}(\.\d{1,9})?))?"
    r"( by (?P<by>[^\s,]+(, ?[^\s,]+)*))?"
    r"( within (?P<within>\d{1,9}(\.\d{1,9})?)( else (?P<default>approve|reject))?)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`within` is in seconds; `above` belongs to `argument`; nobody in `by` is anybody."""

    answer: Answer
    argument: str = ""
    above: float = 0.0
    by: tuple[str, ...] = ()
    within: float | None = None
    default: Literal["approve", "reject"] = "reject"

    def of(self, args: Mapping[str, Any]) -> Answer:
        """What a call with these arguments meets. An argument that is missing or no number is asked about."""
        if not self.argument:
            return self.answer
        value = args.get(self.argument)
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            return "ask"
        return "ask" if value > self.above else "auto"

    @property
    def strictness(self) -> int:
        """Higher is stricter."""
        return {"auto": 0, "ask": 1 if self.argument else 2, "deny": 3}[self.answer]


def parsed(text: str) -> Policy:
    """A policy of its words. Raises ValueError with the mend."""
    found = _POLICY.fullmatch(" ".join(text.split()))
    if found is None or (found["answer"] != "ask" and (found["argument"] or found["by"] or found["within"])):
        raise ValueError(f"{text!r} is no policy: {HOW}")
    return Policy(
        answer=found["answer"],  # type: ignore[arg-type]  # one of three, by the pattern
        argument=found["argument"] or "",
        above=float(found["above"] or 0),
        by=tuple(re.split(r", ?", found["by"])) if found["by"] else (),
        within=float(found["within"]) if found["within"] else None,
        default=found["default"] or "reject",  # type: ignore[arg-type]  # one of two, by the pattern
    )


def checked(approvals: Mapping[str, str]) -> dict[str, str]:
    """Policies by scope, each of which can be read. Raises ValueError that names the scope and the mend."""
    for scope, text in approvals.items():
        if not _SCOPE.fullmatch(scope):
            raise ValueError(f"{scope!r} is no scope: name a TOOL, an AGENT, AGENT.TOOL or *")
        try:
            parsed(text)
        except ValueError as error:
            raise ValueError(f"{scope}: {error}") from None
    return dict(approvals)


def named(approvals: Mapping[str, str], agent: str, tool: str) -> bool:
    """Whether a scope names an agent's tool, so that its calls wait whatever the tool does."""
    return tool in approvals or f"{agent}.{tool}" in approvals


def policy_for(
    approvals: Mapping[str, str], fallback: Answer, *, agent: str, tool: str, undoable: bool = False
) -> Policy:
    """What a call of an agent's tool meets; `fallback` where no scope fits.

    A tool that can be undone waits only where a scope names it.
    """
    levels = [[f"{agent}.{tool}"], [tool]] if undoable else [[f"{agent}.{tool}"], [tool, agent], ["*"]]
    for level in levels:
        if fitting := [parsed(approvals[scope]) for scope in level if scope in approvals]:
            return max(fitting, key=lambda policy: policy.strictness)
    return Policy(answer="auto" if undoable else fallback)
