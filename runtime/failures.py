"""What went wrong with a call, whose it is, and whether trying again may help."""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from langchain_core.exceptions import ModelError, ModelRateLimitError

from state.agent import Failure, Owner
from state.errors import BreakerError, BudgetError, EndpointError, InputError, MotetError, OutputError, ToolError

TRIES = 4  # requests for one answer, transient failures included
LONGEST_WAIT = 60.0  # seconds; a server that asks for more is not waited for
TRANSIENT = (408, 409, 429)  # statuses below 500 after which the same request may succeed
NOBODY = (401, 403, 404, 408)  # statuses below 500 that any other request would meet as well


def failure_of(error: BaseException, *, at: str) -> Failure:
    """Classify an exception: sender (bad input), receiver (agent, model, tool) or environment (network, server)."""
    kind, message = type(error).__name__, _text(error)
    owner: Owner
    again: bool | None
    if isinstance(error, InputError):
        return Failure(kind=kind, message=message, owner="sender", at=at)
    if isinstance(error, ToolError):
        return Failure(kind=kind, message=message, owner="receiver", retryable=error.retryable, at=at)
    if isinstance(error, OutputError):
        return Failure(kind=kind, message=message, owner="receiver", at=at)
    if isinstance(error, ModelError):
        again = error.is_retryable and not exhausted(error)
        owner = "environment" if error.is_retryable else "receiver"
        return Failure(kind=kind, message=message, owner=owner, retryable=again, at=at)
    if isinstance(error, BreakerError):
        return Failure(kind=kind, message=message, owner="environment", retryable=True, at=at)
    if isinstance(error, EndpointError | BudgetError):
        return Failure(kind=kind, message=message, owner="environment", at=at)
    if isinstance(error, TimeoutError | ConnectionError):
        said = message if str(error) else "no answer in time"
        return Failure(kind=kind, message=said, owner="environment", retryable=True, at=at)
    if isinstance(error, OSError):
        return Failure(kind=kind, message=message, owner="environment", at=at)
    if (again := _over_http(error)) is not None:
        return Failure(kind=kind, message=message, owner="environment" if again else "receiver", retryable=again, at=at)
    return Failure(kind=kind, message=message, owner="receiver", at=at)


def _over_http(error: BaseException) -> bool | None:
    """Whether a failure that no ModelError wraps may pass: by its status, or as a stream that broke; None: no HTTP.

    The classes are known by name, as importing a provider here would cost every start a second.
    """
    names = {(c.__module__.split(".")[0], c.__name__) for c in type(error).__mro__}
    if not names & {("openai", "APIError"), ("httpx", "TransportError"), ("httpx2", "TransportError")}:
        return None
    status = getattr(error, "status_code", None)
    return not exhausted(error) and (status is None or status >= 500 or status in TRANSIENT)


def exhausted(error: BaseException) -> bool:
    """Whether a 429 means an empty account: waiting does not mend that."""
    body = getattr(error, "body", None)
    code = getattr(error, "code", None) or (body.get("code") if isinstance(body, dict) else None)
    return code in ("insufficient_quota", "billing_hard_limit_reached")


def held_against(error: BaseException) -> bool:
    """Whether a failed request says that its model is not well: one that asks for patience, or finds fault, is."""
    if isinstance(error, MotetError) and not isinstance(error, EndpointError):
        return False
    status = _status(error)
    if isinstance(error, ModelRateLimitError) or status == 429:
        return exhausted(error)
    return status is None or status >= 500 or status in NOBODY


def turned_away(error: BaseException) -> bool:
    """Whether a request was refused before a model saw it, so that nothing was paid for it."""
    refused = any(type(e).__name__ in ("ConnectError", "ConnectTimeout") for e in _causes(error))
    return refused or (_status(error) or 0) >= 400 or isinstance(error, ConnectionRefusedError)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _status(error: BaseException) -> int | None:
    """The status of the HTTP answer that an error, or what caused it, came with."""
    found = (getattr(e, "status_code", None) for e in _causes(error))
    return next((s for s in found if isinstance(s, int)), None)


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
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
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
