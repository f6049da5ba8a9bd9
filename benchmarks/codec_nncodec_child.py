"""NNCodec on named arrays, in its own environment: run by ``codec_nncodec``, prints a line of JSON a setting."""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import io
import json
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

APPLICATIONS_ONLY = {"torchvision", "cv2", "h5py"}
"""Imported by NNCodec's example data sets and models; encoding and decoding arrays never calls them."""


class _Anything(type):
    """Any attribute, call and base class of what is not there."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls


class _Nothing(metaclass=_Anything):
    pass


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules above, last of all finders: only where they are not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        """Return a spec for a module above, or None."""
        known = name.partition(".")[0] in APPLICATIONS_ONLY
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: Any) -> types.ModuleType:
        """Return a module in which every name is found."""
        module = types.ModuleType(spec.name)
        vars(module)["__getattr__"] = lambda name: getattr(_Nothing, name)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Leave the module empty."""


def main() -> None:
    """Code what ``sys.argv[1]`` names with every quantization parameter, or check with a small array that it works."""
    sys.meta_path.append(_StandIns())
    import numpy as np
    import torch

    nncodec = importlib.import_module("nncodec.nn")

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it leaves its bit streams where it stands
        if sys.argv[1] == "--check":
            noise = np.random.default_rng(0).standard_normal((64, 64), dtype=np.float32)
            _code(nncodec.encode, nncodec.decode, {"w0": noise}, 0)
        else:
            asked = json.loads(sys.argv[1])
            for form in asked["forms"]:
                arrays = dict(np.load(Path(asked["folder"]) / f"{form}.npz"))
                for qp in asked["qps"]:
                    print(
                        json.dumps({"form": form, "qp": qp} | _code(nncodec.encode, nncodec.decode, arrays, qp)),
                        flush=True,
                    )
        os.chdir("/")


def _code(
    encode: Callable[..., Any], decode: Callable[..., Any], arrays: Mapping[str, Any], qp: int
) -> dict[str, float]:
    """Return bytes, squared error and seconds of this process."""
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.process_time()
        stream = encode(dict(arrays), args={"qp": qp})
        encoded = time.process_time()
        decoded = decode(stream)
        ended = time.process_time()
    error = sum(float(((array - decoded[name]).astype("float64") ** 2).sum()) for name, array in arrays.items())
    seconds = {"encode_seconds": encoded - started, "decode_seconds": ended - encoded}
    return {"bytes": len(stream), "squared_error": error} | seconds


if __name__ == "__main__":
    main()
