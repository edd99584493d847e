"""Whose a failure is, whether trying again may help, and how long to wait before."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import openai
import pytest
from langchain_core.exceptions import ModelAuthenticationError, ModelRateLimitError, ModelTimeoutError

from runtime.failures import LONGEST_WAIT, exhausted, failure_of, held_against, pause, turned_away
from state.errors import BudgetError, EndpointError, InputError, OutputError, ToolError

ASKED = httpx2.Request("POST", "http://loopback/v1")


def status(code: int, body: Any = None, **headers: str) -> openai.APIStatusError:
    response = httpx2.Response(code, request=ASKED, headers={k.replace("_", "-"): v for k, v in headers.items()})
    return openai.APIStatusError("no", response=response, body=body)


@pytest.mark.parametrize(
    ("error", "owner", "retryable"),
    [
        (InputError("no question"), "sender", False),
        (OutputError("no JSON"), "receiver", False),
        (ToolError("busy", retryable=True), "receiver", True),
        (BudgetError("spent"), "environment", False),
        (EndpointError("html"), "environment", False),
        (ModelRateLimitError("slow down"), "environment", True),
        (ModelTimeoutError("late"), "environment", True),
        (ModelAuthenticationError("who?"), "receiver", False),
        (TimeoutError(), "environment", True),
        (ConnectionResetError("reset"), "environment", True),
        (OSError("disk full"), "environment", False),
        (status(408), "environment", True),
        (status(409), "environment", True),
        (status(413), "receiver", False),
        (status(500), "environment", True),
        (openai.APIError("overloaded", ASKED, body=None), "environment", True),
        (httpx2.RemoteProtocolError("peer closed connection"), "environment", True),
        (ZeroDivisionError("a bug"), "receiver", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_a_failure_has_its_owner_and_only_what_may_pass_is_retried(
    error: BaseException, owner: str, retryable: bool
) -> None:
    fault = failure_of(error, at="speaker")
    assert (fault.owner, fault.retryable, fault.at) == (owner, retryable, "speaker")
    assert fault.message
    assert "\n" not in fault.message


def test_a_timeout_without_words_says_what_it_was() -> None:
    assert failure_of(TimeoutError(), at="a").message == "no answer in time"


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
def test_an_empty_account_is_not_a_rate_limit(code: str) -> None:
    assert exhausted(status(429, {"code": code}))
    assert not failure_of(status(429, {"code": code}), at="a").retryable
    assert failure_of(status(429, {"code": "rate_limit_exceeded"}), at="a").retryable


def test_retry_after_in_seconds_is_waited_for_exactly() -> None:
    assert pause(status(429, retry_after="2.5"), 0) == 2.5
    assert pause(status(503, retry_after="0"), 0) == 0


def test_retry_after_as_a_date_is_waited_for() -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    waited = pause(status(429, retry_after=when), 0)
    assert waited is not None
    assert 27 < waited <= 30
    gone = format_datetime(datetime.now(UTC) - timedelta(seconds=30), usegmt=True)
    assert pause(status(429, retry_after=gone), 0) == 0


def test_a_server_that_asks_for_too_long_is_given_up() -> None:
    assert pause(status(429, retry_after=str(LONGEST_WAIT + 1)), 0) is None


@pytest.mark.parametrize("header", ["soon", "", "nan", "-5"])
def test_a_retry_after_that_means_nothing_does_no_harm(header: str) -> None:
    waited = pause(status(429, retry_after=header), 1)
    assert waited is not None
    assert 0 <= waited <= 1


def test_waits_grow_with_full_jitter_up_to_a_bound() -> None:
    waits = [[pause(TimeoutError(), n) or 0.0 for _ in range(300)] for n in (0, 3, 50)]
    assert max(waits[0]) <= 0.5
    assert 2 < max(waits[1]) <= 4
    assert max(waits[2]) <= 20
    assert min(map(min, waits)) < 0.1


@pytest.mark.parametrize(
    ("error", "held"),
    [
        (status(500), True),
        (status(401), True),
        (status(400), False),
        (status(413), False),
        (status(429), False),
        (status(429, {"code": "insufficient_quota"}), True),
        (ModelRateLimitError("slow down"), False),
        (TimeoutError(), True),
        (EndpointError("html"), True),
        (OutputError("refused"), False),
        (BudgetError("spent"), False),
    ],
    ids=lambda value: str(value),
)
def test_only_what_a_model_fails_at_itself_is_held_against_it(error: BaseException, held: bool) -> None:
    assert held_against(error) == held


def test_only_a_request_that_no_model_saw_costs_nothing() -> None:
    lost = openai.APIConnectionError(request=ASKED)
    assert not turned_away(lost)
    lost.__cause__ = httpx2.ConnectError("refused")
    assert turned_away(lost)
    assert turned_away(status(429))
    assert not turned_away(TimeoutError())
