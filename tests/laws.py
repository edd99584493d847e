"""Laws that Hypothesis checks, and the proof that each can fail: its rule is broken, and the law must say so."""

from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

ENOUGH = settings(
    max_examples=500,
    phases=[Phase.generate],
    database=None,
    deadline=None,
    print_blob=False,
    report_multiple_bugs=False,  # one fault is enough: do not go on in search of others
)
FAULTS = (AssertionError, BaseExceptionGroup)


def breaks(law: Callable[..., Any] | type[RuleBasedStateMachine]) -> None:
    """Assert that a law, a `@given` test without fixtures or a machine, fails: its rule was broken before."""
    quiet = StringIO()
    with redirect_stdout(quiet), redirect_stderr(quiet), pytest.raises(FAULTS):
        _run(law)


def _run(law: Callable[..., Any] | type[RuleBasedStateMachine]) -> None:
    if isinstance(law, type):
        run_state_machine_as_test(law, settings=ENOUGH)
        return
    own: Any = law
    before = own._hypothesis_internal_use_settings  # where a law keeps its settings; it must have its own again
    own._hypothesis_internal_use_settings = ENOUGH
    try:
        law()
    finally:
        own._hypothesis_internal_use_settings = before
