"""Run a small model on a device: python client.py MODEL.onnx manifest.json INPUT.npy; needs numpy and onnxruntime."""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: from 1.29 on ONNX Runtime reports unless it is told

import numpy as np
import onnxruntime


def main(model: Path, manifest: Path, rows: Path) -> None:
    """Check the model against its manifest, then print the class of each row and the milliseconds of all."""
    content, said = model.read_bytes(), json.loads(manifest.read_text(encoding="utf-8"))
    if (found := hashlib.sha256(content).hexdigest()) != said["sha256"]:
        sys.exit(f"{model}: expected SHA-256 {said['sha256']}, got {found}: another or a damaged file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a small model loses more by waiting for threads than it gains
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    eaten = session.get_inputs()[0]
    inputs = np.load(rows, allow_pickle=False).astype(np.int64 if "int64" in eaten.type else np.float32)
    if inputs.ndim == len(eaten.shape) - 1:
        inputs = inputs[np.newaxis]  # one row
    session.run(None, {eaten.name: inputs})  # the first call allocates
    began = time.perf_counter()
    (outputs,) = session.run(None, {eaten.name: inputs})
    milliseconds = 1e3 * (time.perf_counter() - began)
    print("class", *outputs.argmax(axis=-1).ravel())
    print(f"{milliseconds:.3f} ms for {len(inputs)} row(s), {len(content):,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
