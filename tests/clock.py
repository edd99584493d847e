"""A clock that only moves when everybody waits: hours of retries and deadlines pass in no time, always alike."""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, it moves the clock on to when the loop wants to be woken."""

    now = 1_000_000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(None if timeout is None else 0)
        if not found and timeout is not None and timeout > 0:
            self.now += timeout
        return found


def in_no_time(work: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """What a coroutine returns, and how many seconds it took by its own clock. It must wait for no thread."""
    selector = _Selector()
    with pytest.MonkeyPatch.context() as patch:
        began, epoch = selector.now, time.time()
        patch.setattr(time, "monotonic", lambda: selector.now)
        patch.setattr(time, "time", lambda: epoch + selector.now - began)
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
            return runner.run(work), selector.now - began
