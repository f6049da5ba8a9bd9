"""What data that ships in a package has to say of itself, and the one way to run a package manager's command."""

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from fedcomp.errors import DataError

_TIMEOUT = 600.0


class PackagedData(ABC):
    """A data set in a package of some package manager: ``files`` lie in one directory, wherever that is."""

    package: str
    files: tuple[str, ...]

    @property
    @abstractmethod
    def folder(self) -> str:
        """The name of the directory in places of our own: in the user's cache, and below ``FEDCOMP_DATA``."""

    @property
    @abstractmethod
    def command(self) -> str:
        """The command that installs the package on a machine for everyone."""

    @abstractmethod
    def installed(self) -> Path | None:
        """Return the directory if the package were installed; None where it cannot be told. It may not exist."""

    @abstractmethod
    def unpack(self, scratch: Path) -> Path:
        """Download the package into the empty directory ``scratch`` and return the data's directory in there.

        Raises:
            DataError: if a command fails, with what it said.
        """


def run_command(words: list[str], directory: Path) -> None:
    """Run a program in ``directory``, without a shell, and without anything to read.

    Raises:
        DataError: if the machine lacks it, it fails (with the last line that it said), or takes over ten minutes.
    """
    shown = " ".join(words)
    try:
        done = subprocess.run(
            words,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise DataError(f"`{shown}` needs {words[0]}, which this machine lacks") from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f"`{shown}` did not end within {_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise DataError(f"`{shown}` failed with exit code {done.returncode}: {said}")
