"""Where data sets lie on this machine, and how one that ships in a package gets there without root."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fedcomp.errors import DataError
from fedcomp.tasks.packages import PackagedData, run_command


@dataclass(frozen=True)
class DebianData(PackagedData):
    """A data set in a Debian package: ``files`` lie in the package's ``directory`` (absolute, as it installs)."""

    package: str
    directory: str
    files: tuple[str, ...]

    @property
    def folder(self) -> str:
        """The last part of the package's directory."""
        return Path(self.directory).name

    @property
    def command(self) -> str:
        """The command that installs the package for everyone."""
        return f"sudo apt-get install {self.package}"

    def installed(self) -> Path:
        """Return the directory that the package installs."""
        return Path(self.directory)

    def unpack(self, scratch: Path) -> Path:
        """Download the package and unpack it; see ``PackagedData.unpack``."""
        archive = _apt_download(self.package, scratch)
        run_command(["dpkg", "-x", str(archive), str(scratch / "root")], scratch)
        return scratch / "root" / self.directory.lstrip("/")


def cache_directory() -> Path:
    """Return the user's cache of this program: under ``XDG_CACHE_HOME``, or ``~/.cache``; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "fedcomp"


def locate(data: PackagedData) -> Path:
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
        f"run `{data.command}`, or `fedcomp simulate CONFIG --fetch`, which needs no root, "
        f"or put {', '.join(data.files)} in a directory and set FEDCOMP_DATA to it"
    )


def fetch(data: PackagedData) -> Path:
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


def _places(data: PackagedData) -> list[Path]:
    chosen, installed = os.environ.get("FEDCOMP_DATA"), data.installed()
    places = [Path(chosen), Path(chosen) / data.folder] if chosen else []
    return [*places, *([installed] if installed else []), cache_directory() / data.folder]


def _download(data: PackagedData) -> None:
    """Unpack the package in a temporary directory beside the cache, then rename: all of the files appear, or none."""
    target = cache_directory() / data.folder
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as name:
            unpacked, whole = data.unpack(Path(name)), Path(name) / "whole"
            if target.is_dir():
                shutil.copytree(target, whole)  # with files of the same package that another task has brought
            shutil.copytree(unpacked, whole, dirs_exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            whole.rename(target)
    except OSError as error:
        raise DataError(f"cannot put {data.package} into {target}: {error}") from error


def _apt_download(package: str, scratch: Path) -> Path:
    """Download a package; with a list of packages of our own where the machine's is missing or out of date."""
    try:
        run_command(["apt-get", "download", package], scratch)
    except DataError:
        own: list[str] = []
        for kind in ("State", "Cache"):
            (scratch / kind / "lists" / "partial").mkdir(parents=True)
            (scratch / kind / "archives" / "partial").mkdir(parents=True)
            own += ["-o", f"Dir::{kind}={scratch / kind}"]
        run_command(["apt-get", *own, "update"], scratch)
        run_command(["apt-get", *own, "download", package], scratch)
    archives = sorted(scratch.glob("*.deb"))
    if len(archives) != 1:
        raise DataError(f"`apt-get download {package}` left {len(archives)} packages, expected 1")
    return archives[0]
