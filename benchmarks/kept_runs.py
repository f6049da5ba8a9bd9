"""Runs in processes of their own, on one core each, whose outcomes are kept so that none is carried out twice."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedcomp.files import write_atomic


def outcome_of(child: str, described: str, kept: Path | None) -> dict[str, Any]:
    """Return what ``child``, ``module:function``, prints last for ``described``: JSON, or what ``kept`` has of it.

    The function reads ``described`` from its standard input.

    Raises:
        SystemExit: with the end of what the process wrote to standard error, if it failed.
    """
    return _kept(kept, lambda: _measured(child, described))


def _kept(path: Path | None, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if path and path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    found = make()
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(found).encode())
    return found


def _measured(child: str, described: str) -> dict[str, Any]:
    module, _, function = child.partition(":")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", f"from {module} import {function}; {function}()"],
        input=described,
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, **threads},
    )
    if done.returncode:
        raise SystemExit(f"{described}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
