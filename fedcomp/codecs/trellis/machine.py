"""The trellis: eight states, two union quantizers, and what a level stands for.

Ungerboeck's 8-state code (1982; parity checks h0 = 13 and h1 = 04 octal) as trellis-coded quantization (Marcellin and
Fischer 1990), with a union of two subsets a state so that indices can be entropy-coded (Fischer and Wang 1992). Written
as a shift register, the state is the last three bits (b1, b2, b3), the newest first:

* the quantizer of the next value is b2; quantizer 0 has the even multiples of the step, quantizer 1 the odd ones and 0;
* the level k that is chosen shifts in the bit (k mod 2) xor b1 xor b3.

Level k of quantizer q stands for 2k - q sign(k) steps, moved outward by a shift that the payload states for each
quantizer and small magnitude. All of this is normative.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

BLOCK = 256
"""Values a block; all values of a block are in one class."""
POINT_BITS, SHIFTED = 6, 3
"""Shifts count in 2**-6 of a step; magnitudes 1 and 2 have one of their own, 3 and more the last."""
MAX_LEVEL = 2**26
"""All levels are smaller in magnitude."""
