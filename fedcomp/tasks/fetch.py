"""Where data sets lie on this machine, and how one that ships as a Debian package gets there without root."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fedcomp.errors import DataError

_TIMEOUT = 600.0


@dataclass(frozen=True)
class DebianData:
    """A data set in a Debian package: ``files`` lie in the package's ``directory`` (absolute, as it installs)."""

    package: str
    directory: str
    files: tuple[str, ...]


def cache_directory() -> Path:
    """Return the user's cache of this program: under ``XDG_CACHE_HOME``, or ``~/.cache``; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "fedcomp"


def locate(data: DebianData) -> Path:
    """Return the directory that holds all of ``data.files``.

    The first of: ``FEDCOMP_DATA``, the folder of ``FEDCOMP_DATA`` that is named as the package's, where the package
    installs, the user's cache.

    Raises:
        DataError: if none does, with where it was looked for and the commands that bring the files.
    """
    places = _places(data)
    for place in places:
        if all((place / name).is_file() for name in data.files):
            return place
    raise DataError(
        f"{data.package} is not on this machine (looked in {', '.join(map(str, places))}); "
        f"run `sudo apt-get install {data.package}`, or `fedcomp simulate CONFIG --fetch`, which needs no root, "
        f"or put {', '.join(data.files)} in a directory and set FEDCOMP_DATA to it"
    )


def fetch(data: DebianData) -> Path:
    """Return ``locate(data)``, after filling the user's cache from the package archive if the files are nowhere.

    Raises:
        DataError: if they cannot be had, with the command that failed, what it said, and what else can be done.
    """
    try:
        return locate(data)
    except DataError as missing:
        try:
            _download(data)
        except DataError as error:
            raise DataError(f"{error}; {missing}") from error
    return locate(data)


def _places(data: DebianData) -> list[Path]:
    folder = Path(data.directory).name
    chosen = os.environ.get("FEDCOMP_DATA")
    places = [Path(chosen), Path(chosen) / folder] if chosen else []
    return [*places, Path(data.directory), cache_directory() / folder]


def _download(data: DebianData) -> None:
    """Unpack the package in a temporary directory beside the cache, then rename: all of the files appear, or none."""
    target = cache_directory() / Path(data.directory).name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as name:
            scratch = Path(name)
            archive = _apt_download(data.package, scratch)
            _command(["dpkg", "-x", str(archive), str(scratch / "root")], scratch)
            shutil.rmtree(target, ignore_errors=True)
            (scratch / "root" / data.directory.lstrip("/")).rename(target)
    except OSError as error:
        raise DataError(f"cannot put {data.package} into {target}: {error}") from error


def _apt_download(package: str, scratch: Path) -> Path:
    """Download a package; with a list of packages of our own where the machine's is missing or out of date."""
    try:
        _command(["apt-get", "download", package], scratch)
    except DataError:
        own: list[str] = []
        for kind in ("State", "Cache"):
            (scratch / kind / "lists" / "partial").mkdir(parents=True)
            (scratch / kind / "archives" / "partial").mkdir(parents=True)
            own += ["-o", f"Dir::{kind}={scratch / kind}"]
        _command(["apt-get", *own, "update"], scratch)
        _command(["apt-get", *own, "download", package], scratch)
    archives = sorted(scratch.glob("*.deb"))
    if len(archives) != 1:
        raise DataError(f"`apt-get download {package}` left {len(archives)} packages, expected 1")
    return archives[0]


def _command(words: list[str], directory: Path) -> None:
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
