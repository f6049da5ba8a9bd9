"""Random pruning by a public seed: which values are kept says nothing about them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.options import flag, number
from fedcomp.codecs.public import public_seed, public_words, read_seed
from fedcomp.codecs.stage import Form, Packet, Spec, Stage
from fedcomp.codecs.stages.topk import largest, num_kept, scatter

_DOMAIN = 1


@dataclass(frozen=True)
class RandomMask(Stage):
    """Keeps the share density of the values, chosen by a public seed.

    64 bits of seed travel in the payload. With ``rescale`` the kept values are multiplied by size / kept, which makes
    the whole unbiased and its norm up to that factor larger: clip again after it where sensitivity counts. (Random
    sparsification: Konecny et al. 2016.)
    """

    density: float = number(0.1, 0, 1, open_low=True)
    rescale: bool = flag(default=True)
    id: ClassVar[str] = "random-mask"
    bound: ClassVar[str] = "none, 0 if all is kept"
    linear = True
    data_dependent = False

    @property
    def biased(self) -> bool:
        """Whether what is dropped is not made up for."""
        return not self.rescale and self.density < 1

    def form(self, form: Form) -> Form:
        """Return the form with fewer values and one more seed."""
        size = form.require_floats()
        seed = Spec(np.dtype(np.uint64), 1)
        return Form(Spec(np.dtype(np.float32), num_kept(size, self.density)), (*form.streams, seed))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Draw a seed and keep the values that it chooses."""
        seed = public_seed(rng)
        kept = packet.values[self._mask(seed, packet.values.size)]
        return Packet(kept * self._factor(packet.values.size), (*packet.streams, np.array([seed], dtype=np.uint64)))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Choose the same places again and put the values there."""
        mask = self._mask(read_seed(packet.streams[-1]), form.require_floats())
        return Packet(scatter(packet.values, mask), packet.streams[:-1])

    def max_error(self, values: Array) -> float | None:
        """Return 0 if everything is kept, else None: which values are dropped is drawn anew for each payload."""
        return 0.0 if num_kept(values.size, self.density) == values.size else None

    def _factor(self, size: int) -> np.float32:
        return np.float32(size / num_kept(size, self.density) if self.rescale and size else 1.0)

    def _mask(self, seed: int, size: int) -> NDArray[np.bool_]:
        return largest(public_words(seed, _DOMAIN, size), num_kept(size, self.density))
