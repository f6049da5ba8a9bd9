"""NNCodec 2.1.3 (MPEG NNC, ISO/IEC 15938-17) as a rival, in a virtual environment of its own under the user's cache.

It is called through its documented interface alone, ``nncodec.nn.encode(dict of arrays, args={"qp": ...})`` and
``decode``, at its default settings. ``install`` builds it (two minutes of C++); what it needs besides and this
environment has (numpy, torch, pandas) it finds here, and what it merely imports for its example applications
(torchvision, OpenCV, HDF5) is stood in for by ``codec_nncodec_child``.
"""

import json
import math
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.codec_sources import LAYERS, Source
from fedcomp.tasks.fetch import cache_directory

VERSION = "2.1.3"
_CHILD = Path(__file__).with_name("codec_nncodec_child.py")
Row = dict[str, Any]
_WHOLE = "one array"


def interpreter() -> Path | None:
    """Return the interpreter of the environment that ``install`` made, None if there is none."""
    python = _home() / "bin" / "python"
    return python if (_home() / "ready").exists() and python.exists() else None


def install() -> Path:
    """Make the environment if it is not there, and return its interpreter; raises ``SystemExit`` with what failed."""
    python = interpreter()
    if python is not None:
        return python
    _home().parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", str(_home())])
    python = _home() / "bin" / "python"
    _run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", f"nncodec=={VERSION}"])
    packages = _run([str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]).strip()
    # at the end of the path: what the environment has itself comes first
    (Path(packages) / "benchmark.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    _run([str(python), str(_CHILD), "--check"])
    (_home() / "ready").touch()
    return python


_IID_QPS = (9, 8, 7, 6, 5, 4, 3, 2, 1, 0, -2, -4, -6, -8, -10, -12, -14, -18, -22, -26, -30)
_MIXED_QPS = (12, 10, 8, 7, 6, 4, 2, 0, -2, -4, -6, -9, -12, -15, -18, -22, -26, -30, -34, -38)


def settings(source: Source, *, quick: bool = False) -> list[int]:
    """Return about twenty quantization parameters that reach 8 bits, or every fourth of them.

    A quantization parameter is a quarter of an octave of the step: those that suit unit variance are shifted.
    """
    shift = round(4 * math.log2(math.sqrt(source.power)))
    return [qp + shift for qp in (_MIXED_QPS if source.layers.size > 1 else _IID_QPS)[:: 4 if quick else 1]]


def sweep(source: Source, qps: Sequence[int], *, by_layer: bool = True) -> list[Row]:
    """Code a source with every quantization parameter; return a row each, by rising rate.

    NNCodec takes weights to have two dimensions. An iid source is one nearly square array; a mixed one is coded twice,
    as one array and, unless ``by_layer`` is false, as one array a layer (the borders told): rows of both are returned.
    """
    forms = {_WHOLE: [source.values]}
    if source.layers.size > 1 and by_layer:
        forms[f"{LAYERS} arrays"] = np.split(source.values, LAYERS)
    with tempfile.TemporaryDirectory() as folder:
        for form, parts in forms.items():
            arrays: dict[str, Any] = {f"w{index}": _matrix(part) for index, part in enumerate(parts)}
            np.savez(Path(folder) / form, **arrays)
        asked = {"folder": folder, "forms": list(forms), "qps": list(qps)}
        lines = _run([str(interpreter()), str(_CHILD), json.dumps(asked)], folder).splitlines()
    return sorted(
        (_row(source, json.loads(line)) for line in lines if line.startswith("{")), key=lambda row: row["bits"]
    )


def timed_at(source: Source, swept: Sequence[Row], rates: Sequence[float]) -> list[Row]:
    """Code a source once for each rate, as one array, with the parameter that came nearest to it in a sweep."""
    nearest = {bits: min(swept, key=lambda row: abs(math.log(row["bits"] / bits))) for bits in rates}
    qps = {bits: row["qp"] for bits, row in nearest.items()}
    rows = {row["qp"]: row for row in sweep(source, sorted(set(qps.values())), by_layer=False)}
    return [
        rows[qp] | {"codec": f"nncodec near {bits:g} bit", "source": source.name, "turns": 1}
        for bits, qp in qps.items()
    ]


def _row(source: Source, measured: dict[str, Any]) -> Row:
    bits = 8 * measured["bytes"] / source.values.size
    nmse = measured["squared_error"] / source.values.size / source.power
    megabytes = 4e-6 * source.values.size
    return {
        "codec": "nncodec",
        "setting": f"qp {measured['qp']}, {measured['form']}",
        "form": measured["form"],
        "qp": measured["qp"],
        "bytes": measured["bytes"],
        "bits": bits,
        "nmse": nmse,
        "gap_db": source.gap_db(bits, nmse),
        "encode_mb_s": megabytes / measured["encode_seconds"],
        "decode_mb_s": megabytes / measured["decode_seconds"],
    }


def _matrix(part: Any) -> Any:
    """Return the part with as many rows as divide it and come nearest to a square."""
    rows = next(rows for rows in range(math.isqrt(part.size), 0, -1) if part.size % rows == 0)
    return part.reshape(rows, -1)


def _home() -> Path:
    return cache_directory() / f"nncodec-{VERSION}-py{sys.version_info[0]}.{sys.version_info[1]}"


def _run(command: list[str], folder: str | None = None) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    if done.returncode != 0:
        raise SystemExit(f"nncodec: `{' '.join(command)[:200]}` failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout
