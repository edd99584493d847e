"""What this house raises. Everything a caller may want to catch is here, and only here."""

from collections.abc import Mapping
from typing import Any


class MotetError(RuntimeError):
    """Base of every error of this house; its text names what is wrong and how to mend it.

    The server passes on the text of a RuntimeError, and hides that of a bare Exception.
    """


class ContractError(MotetError):
    """Raised when an agent, a tool or a graph is built from parts that cannot work together."""


class InputError(MotetError):
    """Raised when what a run, a tool or an agent is given does not validate."""


class OutputError(MotetError):
    """Raised when an answer does not validate after its repairs."""


class BudgetError(MotetError):
    """Raised when a reservation does not fit what is left of a budget."""


class EndpointError(MotetError):
    """Raised when a model's server answers with something that is no answer (HTML, nulls, no choices)."""


class BreakerError(MotetError):
    """Raised when an agent, a model or a tool is not called, because too many calls of it have failed lately."""


class ThreadError(MotetError):
    """Raised when a saved thread is unknown, is waiting for something else, or cannot be continued."""


class StorageError(MotetError):
    """Raised when a database cannot be opened, read or written."""


class IntegrityError(StorageError):
    """Raised when what is saved of a thread was changed, moved or taken away by somebody else."""


class OvertakenError(StorageError, ThreadError):
    """Raised when a run wants to save something after another one took its thread over."""


class ChangedWarning(UserWarning):
    """Warned when a thread goes on with prompts, models or parts that are not those it was left by."""


class DocumentError(MotetError):
    """Raised when a folder of documents cannot be used: missing, empty, unreadable."""


class ToolError(MotetError):
    """Raised by a tool that could not do what it was asked.

    `retryable` says whether the same call may succeed later; `suggestion` tells the agent what to do
    instead. Both reach the agent, so that it can act on them.
    """

    def __init__(self, message: str, *, retryable: bool = False, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable
        self.suggestion = suggestion


class DoubtError(MotetError):
    """Raised when a call of a tool that cannot be undone was begun and has no result: it may have taken effect.

    `doubt` says what is known of it, as plain data (`state.effect.Doubt`). It never leaves a tool loop, which
    puts it to a person.
    """

    def __init__(self, visit: str, doubt: Mapping[str, Any]) -> None:
        super().__init__(
            f"{doubt['name']} was begun and has no result ({doubt['why']}): see whether it took effect, "
            "and answer the question about it"
        )
        self.visit = visit
        self.doubt = doubt
