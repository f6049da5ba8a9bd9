"""The brain float: the upper half of a float32, with its range and 8 bits of precision."""

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array


def to_bfloat16(values: Array, *, up: bool = False) -> NDArray[np.uint16]:
    """Return finite float32 values as the bfloat16 bits: the nearest, ties to even, or with ``up`` away from zero."""
    bits = values.view(np.uint32)
    above = np.uint32(0xFFFF) if up else np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    return ((bits + above) >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(bits: Array) -> NDArray[np.float32]:
    """Return what bits of bfloat16 stand for as float32, NaN and infinities among them."""
    return np.asarray((bits.astype(np.uint32) << np.uint32(16)).view(np.float32))
