"""What went wrong with a call, whose it is, and whether trying again may help."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from langchain_core.exceptions import ModelError

from state.agent import Failure, Owner
from state.errors import EndpointError, InputError, OutputError, ToolError

TRIES = 4  # requests for one answer, transient failures included
LONGEST_WAIT = 60.0  # seconds; a server that asks for more is not waited for


def failure_of(error: BaseException, *, at: str) -> Failure:
    """Classify an exception: sender (bad input), receiver (agent, model, tool) or environment (network, server)."""
    kind, message = type(error).__name__, _text(error)
    if isinstance(error, InputError):
        return Failure(kind=kind, message=message, owner="sender", at=at)
    if isinstance(error, ToolError):
        return Failure(kind=kind, message=message, owner="receiver", retryable=error.retryable, at=at)
    if isinstance(error, OutputError):
        return Failure(kind=kind, message=message, owner="receiver", at=at)
    if isinstance(error, ModelError):
        again = error.is_retryable and not exhausted(error)
        owner: Owner = "environment" if error.is_retryable else "receiver"
        return Failure(kind=kind, message=message, owner=owner, retryable=again, at=at)
    if isinstance(error, EndpointError):
        return Failure(kind=kind, message=message, owner="environment", at=at)
    if isinstance(error, TimeoutError | ConnectionError):
        return Failure(kind=kind, message=message or "no answer in time", owner="environment", retryable=True, at=at)
    if isinstance(error, OSError):
        return Failure(kind=kind, message=message, owner="environment", at=at)
    return Failure(kind=kind, message=message, owner="receiver", at=at)


def exhausted(error: BaseException) -> bool:
    """Whether a 429 means an empty account: waiting does not mend that."""
    body = getattr(error, "body", None)
    code = getattr(error, "code", None) or (body.get("code") if isinstance(body, dict) else None)
    return code in ("insufficient_quota", "billing_hard_limit_reached")


def pause(error: BaseException, attempt: int, *, base: float = 0.5, most: float = 20.0) -> float | None:
    """Seconds to wait before the next attempt, by Retry-After or exponential with full jitter; None: give up."""
    asked = _retry_after(error)
    if asked is not None:
        return asked if asked <= LONGEST_WAIT else None
    return random.uniform(0, min(most, base * 2**attempt))


def _retry_after(error: BaseException) -> float | None:
    headers: Any = getattr(getattr(error, "response", None), "headers", None) or {}
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _text(error: BaseException) -> str:
    """The first line of an error's text, short enough for a table."""
    lines = str(error).strip().splitlines()
    return lines[0][:400] if lines else type(error).__name__
