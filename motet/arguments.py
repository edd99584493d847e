"""What is typed at the command line, as data. Everything here raises InputError with the mend."""

import json
import sys
from pathlib import Path
from typing import Any

from state.context import TIERS
from state.errors import InputError
from state.policy import checked


def question(typed: str, given: str) -> str | dict[str, Any]:
    """What is asked: the argument, standard input for `-`, or a whole Task by --input."""
    if typed and given:
        raise InputError("the question is given twice: as an argument and by --input; leave one out")
    if given:
        return json_object(given, "--input")
    if typed != "-":
        return _text(typed, "the question")
    try:
        return _text(sys.stdin.read(), "the question")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 text: {error.reason} at byte {error.start}") from error


def json_object(typed: str, option: str) -> dict[str, Any]:
    """A JSON object, or one in a file by @FILE; nothing typed is an empty one."""
    value = _json(typed, option) if typed else {}
    if not isinstance(value, dict):
        raise InputError(f'{option} must be a JSON object such as {{"name": 1}}, not {json.dumps(value)[:60]}')
    return value


def models(model: str, tiers: list[str]) -> dict[str, str]:
    """The model of each tier: --model serves all that --tier does not name."""
    out: dict[str, str] = dict.fromkeys(TIERS, model) if model else {}
    for typed in tiers:
        tier, _, name = typed.partition("=")
        if tier not in TIERS or not name:
            raise InputError(f"--tier {typed} does not fit: write {', '.join(f'{t}=NAME' for t in TIERS)}")
        out[tier] = name
    return out


def policies(typed: list[str]) -> dict[str, Any]:
    """What happens before a tool runs: auto, ask or deny for all, SCOPE=POLICY for some. Raises InputError."""
    out: dict[str, Any] = {}
    for each in typed:
        scope, is_, policy = each.partition("=")
        if is_:
            out.setdefault("approvals", {})[scope.strip()] = policy.strip()
        elif each in ("auto", "ask", "deny"):
            out["approve"] = each
        else:
            raise InputError(f"{each!r} is neither auto, ask nor deny, nor a policy such as send=auto")
    try:
        checked(out.get("approvals", {}))
    except ValueError as error:
        raise InputError(str(error)) from error
    return out


def changes(typed: list[str]) -> dict[str, Any]:
    """Channels to change, from NAME=JSON or NAME=@FILE."""
    out = {}
    for each in typed:
        name, is_, value = each.partition("=")
        if not is_ or not name:
            raise InputError(f"--set {each} does not fit: write NAME=JSON")
        out[name] = _json(value, f"--set {name}")
    return out


def _json(typed: str, option: str) -> Any:
    try:
        text = Path(typed[1:]).read_text("utf-8") if typed.startswith("@") else typed
        return json.loads(_text(text, option))
    except OSError as error:
        raise InputError(f"{option}: {typed[1:]} cannot be read: {error.strerror}") from error
    except ValueError as error:
        quoted = f"; a text needs its quotes: '\"{typed}\"'" if typed[:1].isalpha() and "'" not in typed else ""
        raise InputError(f"{option} is not valid JSON: {error}{quoted}") from error


def _text(typed: str, what: str) -> str:
    try:
        typed.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} is not valid UTF-8 text at character {error.start}") from error
    return typed
