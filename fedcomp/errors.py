"""The errors a user can cause, each with the exit code that the command line gives it."""

from collections.abc import Sequence


class FedcompError(Exception):
    """Base of every error that is reported in one sentence, without a traceback.

    ``exit_code`` is what ``fedcomp`` exits with: 2 for what the user asked, 3 for data that is missing,
    4 for files (a run that exists, a full disk), 5 for a spent privacy budget, 6 for a run that could not finish.
    """

    exit_code = 6


class ConfigError(FedcompError):
    """A config that cannot be run; carries every problem found, not the first one alone."""

    exit_code = 2

    def __init__(self, problems: Sequence[str], source: str = "config") -> None:
        self.problems = tuple(problems)
        super().__init__(f"{source}: " + "; ".join(self.problems))


class DataError(FedcompError):
    """Data that is missing or unreadable; the message holds the command that installs it."""

    exit_code = 3


class RunError(FedcompError):
    """A run directory that exists, is damaged or cannot be written."""

    exit_code = 4
