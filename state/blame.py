"""Whose a failure is, in one line: the way down to where it happened, whose fault it is, and what it was.

    team > author (environment): no answer in time

The receiver's own fault needs no word.
"""

import re
from dataclasses import replace

from state.agent import Failure

NAME = r"[a-z][a-z0-9_]{0,63}"
LINE = re.compile(rf"(?P<at>{NAME}(?: > {NAME})*)(?: \((?P<owner>sender|environment)\))?: (?P<message>.+)", re.DOTALL)


def blamed(fault: Failure) -> str:
    """A failure as one line."""
    whose = "" if fault.owner == "receiver" else f" ({fault.owner})"
    return f"{fault.at}{whose}: {fault.message}"


def says(who: str, reason: str) -> bool:
    """Whether a reason begins with who it is about."""
    return reason.startswith((f"{who}:", f"{who} (", f"{who} > "))


def passed_up(fault: Failure, reason: str) -> Failure:
    """The failure of a nested graph, as that of the agent it stands for: its reason names the way down.

    What the environment did inside, it did to the whole; a bad input that somebody inside made is the
    fault of the whole, which is the receiver for whoever called it.
    """
    found = LINE.fullmatch(reason)
    if found is None:
        return replace(fault, message=reason)
    owner = "environment" if found["owner"] == "environment" else fault.owner
    return replace(fault, message=found["message"], owner=owner, at=f"{fault.at} > {found['at']}")
