"""Adaptive clipping (Andrew et al., *Differentially private learning with adaptive clipping*, 2021).

The bound follows a quantile of the clients' norms. Every client says in one bit whether its norm was within the bound;
the bit is centred to plus or minus one half, so that one client moves the sum of bits by one half; the sum gets noise
of its own and is divided by the expected number of clients, a public constant. Where too many are within the bound it
falls, and where too few are it rises. A round's clients and its noise have the bound that was decided a round before.
"""

import math
from dataclasses import dataclass

from fedcomp.rng import Randomness

_LEAST, _MOST = 1e-9, 1e9
"""The bound never leaves this range."""


@dataclass(frozen=True)
class AdaptiveClip:
    """How a bound moves.

    Attributes:
        clipping_norm: the bound of the round.
        quantile: share of clients that are to be within the bound.
        rate: how fast the logarithm of the bound moves.
        bit_noise: standard deviation of the noise on the sum of centred bits, in clients.
        expected: clients that are expected in a round: a public constant, never those that came.
    """

    clipping_norm: float
    quantile: float
    rate: float
    bit_noise: float
    expected: float

    def noise_on_sum(self, noise_multiplier: float) -> float:
        """Return the noise multiplier of the sum of updates, with which sum and bits together cost as one release.

        Both are Gaussian mechanisms on one client: updates over their bound and bits over one half are one vector, so
        ``1 / noise_multiplier**2`` is the sum of what the two take (Theorem 1).

        Raises:
            ValueError: if the bits alone take all of it.
        """
        left = noise_multiplier**-2 - (2 * self.bit_noise) ** -2
        if left <= 0:
            raise ValueError(
                f"expected noise on bits above {noise_multiplier / 2:g} clients (half the noise multiplier), "
                f"got {self.bit_noise:g}"
            )
        return float(left**-0.5)

    def following(self, within: int, without: int, rng: Randomness) -> float:
        """Return the bound of the next round.

        Args:
            within: clients whose norm was within it; private, like ``without``.
            without: clients whose norm was above it.
            rng: a secret stream; what this draws is covered by the round's event.
        """
        noised = (within - without) / 2 + self.bit_noise * rng.standard_normal()
        share = noised / self.expected + 0.5
        moved = self.clipping_norm * math.exp(-self.rate * (share - self.quantile))
        return min(max(moved, _LEAST), _MOST)
