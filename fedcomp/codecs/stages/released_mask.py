"""Pruning by a mask that both ends know: the largest magnitudes of what was released before."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.options import number
from fedcomp.codecs.public import public_seed, public_words, read_seed
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.reference import FINGERPRINT, check_fingerprint, fingerprint, require_reference
from fedcomp.codecs.stage import Form, Packet, Spec, Stage
from fedcomp.codecs.stages.topk import largest, num_kept, scatter

_DOMAIN = 4


@dataclass(frozen=True)
class ReleasedMask(Stage):
    """Keeps the share density of the values, where the reference is largest in magnitude.

    Which values are kept follows from what everybody knows already, so the choice costs no privacy and no index bits;
    a fingerprint of the reference travels. ``random_share`` of the kept values are drawn by a public seed from all
    others instead, so that the support can move. (Masks from released state: Fed-SMP, Hu et al. 2023.)
    """

    density: float = number(0.1, 0, 1, open_low=True)
    random_share: float = number(0.0, 0, 1, default=0.0)
    id: ClassVar[str] = "released-mask"
    data_dependent = False
    biased = True
    needs_reference = True
    linear = True
    bound: ClassVar[str] = "the largest magnitude"

    def form(self, form: Form) -> Form:
        """Return the form with fewer values, one more fingerprint and, if any are drawn, one more seed."""
        kept = Spec(np.dtype(np.float32), num_kept(form.require_whole(), self.density))
        seed = (Spec(np.dtype(np.uint64), 1),) if self.random_share else ()
        return Form(kept, (*form.streams, FINGERPRINT, *seed))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Keep the values where the reference is large, and those that a new seed draws."""
        reference = require_reference(packet)
        seed = public_seed(rng) if self.random_share else 0
        drawn = (np.array([seed], dtype=np.uint64),) if self.random_share else ()
        kept = packet.values[self._mask(reference, seed)]
        return Packet(kept, (*packet.streams, fingerprint(reference), *drawn))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Choose the same places again and put the values there."""
        reference, streams = require_reference(packet), list(packet.streams)
        seed = read_seed(streams.pop()) if self.random_share else 0
        check_fingerprint(streams.pop(), reference)
        return Packet(scatter(packet.values, self._mask(reference, seed)), tuple(streams))

    def max_error(self, values: Array) -> float | None:
        """Return the largest magnitude, which need not be where the reference is large."""
        return 0.0 if self.density == 1 else peak_of(values)

    def _mask(self, reference: Array, seed: int) -> NDArray[np.bool_]:
        """Return the mask: of ``num_kept`` values ``random_share``, rounded half to even, are drawn."""
        kept = num_kept(reference.size, self.density)
        drawn = round(self.random_share * kept)
        mask = largest(np.abs(reference), kept - drawn)
        if drawn:
            others = np.flatnonzero(~mask)
            mask[others[largest(public_words(seed, _DOMAIN, others.size), drawn)]] = True
        return mask
