"""What ``auto`` chooses from: ways to code float32 values within so many bytes, and what each would do to a mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.rate.control import Goal
from fedcomp.codecs.rate.fast import encode_fast
from fedcomp.codecs.rate.reader import read_draft
from fedcomp.codecs.stage import Shape

Floats = NDArray[np.float32]
_SMALL = 1024
_SHARED_POWER = 0.4
"""The share of a biased code's squared error that every client makes alike, as a power of the normalised error.

Fitted on ten and a hundred heavy-tailed updates with a common signal: 0.91, 0.69, 0.51, 0.27 and 0.06 of errors of
0.766, 0.392, 0.190, 0.049 and 0.0035.
"""


@dataclass(frozen=True)
class Candidate:
    """One way: ``encode(values, shapes, budget, seed)`` gives at most ``budget`` bytes, or None where it cannot."""

    name: str
    biased: bool
    encode: Callable[[Floats, Sequence[Shape], int, int], bytes | None]
    decode: Callable[[memoryview, int, Sequence[Shape]], Floats]


@dataclass(frozen=True, eq=False)
class Trial:
    """What a candidate made of some values."""

    candidate: int
    payload: bytes
    error: float
    """Squared error over squared norm, of one payload."""
    mean_error: float
    """The same, predicted for the mean of the cohort."""


def try_candidates(values: Floats, shapes: Sequence[Shape], budget: int, cohort: int, seed: int) -> list[Trial]:
    """Return what each candidate makes of ``values`` within ``budget`` bytes; one at least can always be had."""
    norm = float(np.sum(np.square(values, dtype=np.float64)))
    trials = []
    for index, candidate in enumerate(CANDIDATES):
        payload = candidate.encode(values, shapes, budget, seed)
        if payload is not None:
            decoded = candidate.decode(memoryview(payload), values.size, shapes)
            error = float(np.sum(np.square(values.astype(np.float64) - decoded))) / norm if norm else 0.0
            trials.append(Trial(index, payload, error, _in_the_mean(error, cohort, biased=candidate.biased)))
    return trials


def encode_candidate(index: int, values: Floats, shapes: Sequence[Shape], budget: int, seed: int) -> tuple[int, bytes]:
    """Return a payload by a candidate that other values chose, and its number; by the first where that cannot be."""
    payload = CANDIDATES[index].encode(values, shapes, budget, seed)
    if payload is not None:
        return index, payload
    return 0, _encode_rate(values, shapes, budget, seed)


def _in_the_mean(error: float, cohort: int, *, biased: bool) -> float:
    shared = min(error, 1.0) ** _SHARED_POWER if biased else 0.0
    return error * (shared + (1 - shared) / cohort)


def _encode_rate(values: Floats, shapes: Sequence[Shape], budget: int, seed: int) -> bytes:
    return encode_fast(values, Goal(float(budget), None), None) if budget else b""


def _decode_rate(data: memoryview, size: int, shapes: Sequence[Shape]) -> Floats:
    return read_draft(data, size, dither=False) if len(data) else np.zeros(size, dtype=np.float32)


def _encode_dithered(values: Floats, shapes: Sequence[Shape], budget: int, seed: int) -> bytes | None:
    return (encode_fast(values, Goal(float(budget), None), seed) if budget else b"") or None


def _decode_dithered(data: memoryview, size: int, shapes: Sequence[Shape]) -> Floats:
    return read_draft(data, size, dither=True)


def _small(shapes: Sequence[Shape]) -> NDArray[np.bool_]:
    """Return which values belong to tensors of no more than 1,024 values, such as biases and norms."""
    sizes = np.array([int(np.prod(shape)) for shape in shapes], dtype=np.int64)
    return np.repeat(sizes <= _SMALL, sizes)


def _encode_layers(values: Floats, shapes: Sequence[Shape], budget: int, seed: int) -> bytes | None:
    """Small tensors in half precision, all others by rate: worth it where few values carry much."""
    small = _small(shapes)
    few = values[small]
    if not few.size or few.size == values.size or np.abs(few).max() >= 65504 or budget <= 2 * few.size:
        return None
    head = few.astype("<f2").tobytes()
    return head + encode_fast(values[~small], Goal(float(budget - len(head)), None), None)


def _decode_layers(data: memoryview, size: int, shapes: Sequence[Shape]) -> Floats:
    small = _small(shapes)
    count = int(np.count_nonzero(small))
    if len(data) < 2 * count:
        raise PayloadError(f"auto: expected {2 * count} bytes of half precision, got {len(data)}")
    values = np.empty(size, dtype=np.float32)
    values[small] = np.frombuffer(data[: 2 * count], dtype="<f2")
    values[~small] = _decode_rate(data[2 * count :], size - count, shapes)
    return values


def _encode_fp32(values: Floats, shapes: Sequence[Shape], budget: int, seed: int) -> bytes | None:
    return values.astype("<f4").tobytes() if budget >= 4 * values.size else None


def _decode_fp32(data: memoryview, size: int, shapes: Sequence[Shape]) -> Floats:
    if len(data) != 4 * size:
        raise PayloadError(f"auto: expected {4 * size} bytes of fp32, got {len(data)}")
    return np.frombuffer(data, dtype="<f4").astype(np.float32)


CANDIDATES: tuple[Candidate, ...] = (
    Candidate("rate", biased=True, encode=_encode_rate, decode=_decode_rate),
    Candidate("rate, dithered", biased=False, encode=_encode_dithered, decode=_decode_dithered),
    Candidate("rate, small tensors in float16", biased=True, encode=_encode_layers, decode=_decode_layers),
    Candidate("fp32", biased=False, encode=_encode_fp32, decode=_decode_fp32),
)
"""A candidate's place is its number on the wire, for ever."""
