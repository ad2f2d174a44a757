"""Errors a person can mend, each with the exit code the command line ends with."""

from __future__ import annotations


class AttnbenchError(Exception):
    """The run broke: exit code 3. The message is one sentence for a person."""

    exit_code = 3


class UsageError(AttnbenchError):
    """A mistake in what was asked for (suite, option, path): exit code 2."""

    exit_code = 2


class ProblemError(UsageError):
    """A problem that no backend could compute, because it contradicts itself.

    Args:
        field: The suite's name of the field at fault, such as ``window``.
        message: What is wrong and what is allowed.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class SuiteError(UsageError):
    """A suite that cannot be run, with the file and the line at fault."""


class RefusedError(UsageError):
    """Something in a suite that this machine cannot do.

    Args:
        message: What, and what is allowed.
        key: The suite's key at fault.
    """

    def __init__(self, message: str, key: tuple[str, ...]) -> None:
        super().__init__(message)
        self.key = key


class BackendError(UsageError):
    """A backend's name or module path that leads nowhere."""


class StoredRunError(UsageError):
    """A directory or file that is not a run this version can read."""


class OutputError(UsageError):
    """An output directory that cannot be used."""


class LostOutputError(AttnbenchError):
    """A run's directory that was written and cannot be any more."""


class BusyError(AttnbenchError):
    """A device that another run is using.

    Args:
        who: Which device, and which run.
    """

    def __init__(self, who: str) -> None:
        super().__init__(f"{who}; let it finish, or wait for it with --wait")
        self.who = who


class NotComparableError(AttnbenchError):
    """Runs of which one says nothing about the other: exit code 4."""

    exit_code = 4


class InterruptedRunError(AttnbenchError):
    """A comparison that was interrupted before there was anything to judge."""


class WorkerError(AttnbenchError):
    """No worker process could be started, so nothing can be measured."""
