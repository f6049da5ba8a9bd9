"""Tables of magnitudes in a few bytes: one hazard a magnitude, for models so small that a table costs more than data.

The hazard of magnitude k is the probability that it is passed: P(m > k | m >= k). Signs are symmetric, and beyond the
last hazard the tail is geometric. A byte q stands for q^2 / (q^2 + (256 - q)^2): steps that grow with the square root
of a small probability lose the same few 1e-5 bits everywhere (the arcsine law: Rissanen 1983 on quantized parameters).
"""

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor
from fedcomp.codecs.entropy.tables import SYMBOL_BITS, Ints, with_sum

MAX_HAZARDS = 63
_MASS_BITS, _HAZARD_BITS = 30, 16
_BYTES = np.arange(256, dtype=np.int64)
_HAZARDS = (_BYTES**2 << _HAZARD_BITS) // (_BYTES**2 + (256 - _BYTES) ** 2)


def fit_hazards(counts: Ints) -> bytes:
    """Return the parameters with the fewest bits for themselves and for what they code. The encoder alone runs this.

    Args:
        counts: how often each magnitude occurs, at index |level|; the last one is positive, or there is none but 0.

    Returns:
        K u8, then K bytes q_0 ... q_(K-1).
    """
    reached = np.cumsum(counts[::-1].astype(np.float64))[::-1]
    passed, reached = reached[1:], reached[:-1]
    if not passed.any():
        return b"\0"
    alone = _nearest(passed / np.maximum(reached, 1))
    cost_alone = _cost(passed, reached, alone)
    passed_tail, reached_tail = np.cumsum(passed[::-1])[::-1], np.cumsum(reached[::-1])[::-1]
    tail = _nearest(passed_tail / np.maximum(reached_tail, 1))
    before = np.concatenate([[0.0], np.cumsum(cost_alone)[:-1]])
    total = before + _cost(passed_tail, reached_tail, tail) + 8.0 * np.arange(1, len(tail) + 1)
    last = int(np.argmin(total[:MAX_HAZARDS]))
    return bytes([last + 1, *alone[:last].tolist(), int(tail[last])])


def read_hazards(cursor: Cursor) -> bytes:
    """Return the next parameters; raises ``PayloadError`` if the data ends early or there are more than 63."""
    count = cursor.take(1)[0]
    if count > MAX_HAZARDS:
        raise PayloadError(f"expected at most {MAX_HAZARDS} hazards, got {count}")
    return bytes([count]) + bytes(cursor.take(count))


def hazard_frequencies(parameters: bytes | memoryview, top: int, *, signed: bool = True) -> Ints:
    """Return the frequencies of 0, -1, 1, -2, 2 ... -top, top, of sum 2**14 and 1 at least. Normative; integers alone.

    Args:
        parameters: as ``fit_hazards`` gives them.
        top: the largest magnitude, up to 511, or 1023 without signs.
        signed: False for numbers that have no sign: the frequencies of 0, 1, 2 ... top.
    """
    hazards = _HAZARDS[np.frombuffer(parameters, dtype=np.uint8)[1:]].tolist() or [0]
    left, masses = 1 << _MASS_BITS, []
    for magnitude in range(top):
        passed = left * hazards[min(magnitude, len(hazards) - 1)] >> _HAZARD_BITS
        masses.append(left - passed)
        left = passed
    frequencies = np.array([*masses, left], dtype=np.int64)
    if signed:
        frequencies = np.repeat(frequencies, 2)[1:]
        frequencies[1:] >>= 1
    shift = _MASS_BITS - SYMBOL_BITS
    return with_sum(np.maximum((frequencies + (1 << (shift - 1))) >> shift, 1), 1 << SYMBOL_BITS)


def _nearest(hazards: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the byte of each hazard, never one that rules out or forces what occurs."""
    odds = np.sqrt(hazards / np.maximum(1 - hazards, 1e-12))
    return np.asarray(np.clip(np.rint(256 * odds / (1 + odds)), 1, 255), dtype=np.int64)


def _cost(passed: NDArray[np.float64], reached: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    hazard = _HAZARDS[chosen] / 2.0**_HAZARD_BITS
    return np.asarray(-passed * np.log2(hazard) - (reached - passed) * np.log2(1 - hazard), dtype=np.float64)
