"""Fuzzes the decoder of every codec: ``make fuzz``. Anything but arrays or ``PayloadError`` ends it with the input.

The first byte of an input chooses the codec, the rest is the payload behind its magic, version and digest; the checksum
is made to fit, because an attacker computes it too. The golden payloads are what mutation starts from. libFuzzer's own
options go through: ``-runs``, ``-timeout`` (seconds of one input), ``-rss_limit_mb`` (memory of all).
"""

import struct
import sys
import tempfile
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fedcomp.codecs"]):
    import numpy as np

    from contracts import codec_suite as suite
    from fedcomp.codecs import PayloadError, codec_from_config

GOLDEN = Path(__file__).parents[1] / "golden"
MAX_VALUES = 2**14
_HEAD = 13
NAMES = sorted(suite.CHAINS)
CODECS = [codec_from_config(suite.CHAINS[name]) for name in NAMES]
REFERENCE = suite.reference_for(suite.example_arrays(300))


def one_input(data: bytes) -> None:
    """Decode one input; whatever is not allowed is raised."""
    if not data:
        return
    codec = CODECS[data[0] % len(CODECS)]
    body = b"FCMP\x01" + bytes.fromhex(codec.digest()) + data[1:]
    payload = body + struct.pack("<I", zlib.crc32(body))
    reference = REFERENCE if codec.needs_reference else None
    try:
        arrays = codec.decode(payload, max_values=MAX_VALUES, reference=reference)
    except PayloadError:
        return
    if sum(array.size for array in arrays.values()) > MAX_VALUES:
        raise AssertionError("more values than were allowed")
    for name, array in arrays.items():
        if not codec.lossless and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise AssertionError(f"{name!r} is not finite")


def write_seeds(folder: Path) -> None:
    """Write what mutation starts from."""
    for index, name in enumerate(NAMES):
        payload = (GOLDEN / f"codec-{name}.bin").read_bytes()
        (folder / name).write_bytes(bytes([index]) + payload[_HEAD:-4])


def main() -> None:
    """Fuzz until ``-runs`` are done."""
    with tempfile.TemporaryDirectory() as folder:
        write_seeds(Path(folder))
        atheris.Setup([*sys.argv, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
