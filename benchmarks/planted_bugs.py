"""Does the audit find what is wrong? Each planted bug goes into a copy of the library, which is then run and audited.

``make audit-selftest``, or ``python -m benchmarks.planted_bugs [--only TEXT] [--workers N] [--json FILE]``. Exits with
1 if a bug is not found by a layer that has to find it, or if a sound run is accused.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.planted_list import CONTROLS, PLANTED, Planted

ROOT = Path(__file__).parent.parent
_ROUNDS = 3
_PATIENCE = 300
_QUIET = {"student.enabled": False, "audit.examples": 100, "engine.workers": 0}


@dataclass(frozen=True)
class Verdict:
    """What the audit said of one bug."""

    name: str
    expected: tuple[str, ...]
    found_by: tuple[str, ...]
    sentence: str
    right: bool
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant, run, audit, and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="bugs whose name holds this text")
    parser.add_argument("--workers", type=int, default=2, help="processes at once")
    parser.add_argument("--json", type=Path, help="write the table there")
    options = parser.parse_args(arguments)
    wanted = [each for each in (*CONTROLS, *PLANTED) if options.only in each.name]
    began = time.monotonic()
    with ThreadPoolExecutor(options.workers) as pool:
        verdicts = []
        for verdict in pool.map(judge, wanted):
            verdicts.append(verdict)
            layers = ", ".join(layer.partition(" ")[0] for layer in verdict.found_by) or "silent"
            mark = "ok    " if verdict.right else "WRONG "
            sys.stdout.write(f"{mark} {verdict.name:62} {layers:16} {verdict.seconds:5.1f} s  {verdict.sentence}\n")
            sys.stdout.flush()
    wrong = [verdict for verdict in verdicts if not verdict.right]
    sys.stdout.write(
        f"{len(verdicts) - len(wrong)} of {len(verdicts)} as they should be, in {time.monotonic() - began:.0f} s\n"
    )
    if options.json:
        options.json.write_text(json.dumps([vars(verdict) for verdict in verdicts], indent=2) + "\n")
    return 1 if wrong else 0


def judge(planted: Planted) -> Verdict:
    """Run and audit one bug in a copy of the library.

    Raises:
        ValueError: if a patch does not fit the source any more, so that nothing would have been planted.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fedcomp-planted-") as place:
        library = Path(place) / "library"
        shutil.copytree(ROOT / "fedcomp", library / "fedcomp", ignore=shutil.ignore_patterns("__pycache__"))
        plant(planted, library / "fedcomp")
        found_by, sentence = _audited(planted, library, Path(place) / "run")
    right = bool(set(found_by) & set(planted.caught_by)) if planted.caught_by else not found_by
    return Verdict(planted.name, planted.caught_by, found_by, sentence, right, round(time.monotonic() - began, 1))


def plant(planted: Planted, package: Path) -> None:
    """Change the source below ``package``; see ``judge``."""
    for patch in planted.patches:
        path = package / patch.path
        source = path.read_text(encoding="utf-8")
        if source.count(patch.old) != 1:
            raise ValueError(f"{planted.name}: expected once in {patch.path}: {patch.old!r}")
        path.write_text(source.replace(patch.old, patch.new), encoding="utf-8")


def _audited(planted: Planted, library: Path, run: Path) -> tuple[tuple[str, ...], str]:
    """Return the layers that found something, and the first finding."""
    settings = {"rounds": _ROUNDS, "evaluate_every": _ROUNDS, **_QUIET, **planted.settings}
    flags = [f"--set={key}={json.dumps(value).replace(': ', ' = ')}" for key, value in settings.items()]
    config = ROOT / "configs" / "digits.toml"
    simulated = _fedcomp(library, "simulate", str(config), "--out", str(run), *flags)
    if simulated.returncode:
        return ("no run",), simulated.stderr.strip()[-300:]
    if planted.tamper is not None:
        planted.tamper(run)
    audited = _fedcomp(library, "audit", str(run), "--quick", "--json")
    if audited.returncode not in (0, 1) or not audited.stdout:
        return ("no audit",), audited.stderr.strip()[-300:]
    claims = json.loads(audited.stdout)["claims"]
    broken = [claim for claim in claims if not claim["holds"]]
    if (audited.returncode == 1) != bool(broken):
        return ("no audit",), f"exit code {audited.returncode} with {len(broken)} claims that do not hold"
    layers = tuple(sorted({claim["layer"] for claim in broken}))
    shown = [claim for claim in broken if claim["layer"] in planted.caught_by] or broken
    return layers, f"{shown[0]['claim']}: {shown[0]['measured']}"[:200] if broken else ""


def _fedcomp(library: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(library), "OMP_NUM_THREADS": "1", "FLWR_TELEMETRY_ENABLED": "0"}
    command = [sys.executable, "-m", "fedcomp", *arguments]
    return subprocess.run(
        command, env=environment, cwd=library, capture_output=True, text=True, timeout=_PATIENCE, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
