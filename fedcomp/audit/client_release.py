"""The release that protects clients: updates decoded, clipped by the server, summed, noised."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedcomp import arrays
from fedcomp.aggregation import PrivateSum
from fedcomp.audit.releases import Floats, ReleaseTerms, as_arrays, as_vector
from fedcomp.codecs import Codec
from fedcomp.crypto import SecretStream
from fedcomp.errors import FedcompError
from fedcomp.privacy import ClippedSum, CohortSampler
from fedcomp.rng import Randomness, stream
from fedcomp.training import Draws


@dataclass(frozen=True)
class ClientRelease:
    """One round of mode ``central``: who was drawn, their payloads decoded, clipped once more, summed and noised.

    Clients here do not clip: the claim must hold for a client that does as it likes. ``codec`` is the uplink, or None
    where only what happens after decoding matters.
    """

    dimension: int
    sampler: CohortSampler
    aggregator: PrivateSum
    codec: Codec | None = None

    @property
    def terms(self) -> ReleaseTerms:
        """What the server declares in its ledger, for a client that takes part."""
        mechanism = self.aggregator.mechanism
        q = self.sampler.sampling_probability if self.sampler.amplification == "poisson" else 1.0
        return ReleaseTerms("client", mechanism.sensitivity, mechanism.noise_std, q, 2)

    def observe(self, units: Floats, draws: Draws | None = None) -> Floats:
        """See ``ReleaseCode.observe``; a payload that is refused is left out, as in a round."""
        total = self._summed(units, draws.batches if draws else None)
        return self._released(total, draws.noise if draws else None)

    def many(self, units: Floats, releases: int) -> Iterator[Floats]:
        """See ``ReleaseCode.many``; where all take part their sum is the same in each, and made once."""
        if self.terms.sampling_probability < 1:
            return (self.observe(units) for _ in range(releases))
        total = self._summed(units, None)
        return (self._released(total, None) for _ in range(releases))

    def unsampled(self) -> "ClientRelease":
        """See ``ReleaseCode.unsampled``."""
        return replace(self, sampler=CohortSampler(self.sampler.population))

    def sampled(self, population: int, batches: Randomness | None = None) -> NDArray[np.bool_]:
        """See ``ReleaseCode.sampled``; a sampler of cohorts has the size of its own population alone."""
        if self.terms.sampling_probability == 1 or not population:
            return np.ones(population, bool)
        probability = self.sampler.sampling_probability
        size = max(1, round(probability * population))
        sampler = CohortSampler(population, self.sampler.kind, size)
        included = np.zeros(population, bool)
        included[sampler.chosen(batches or SecretStream())] = True
        return included

    def _summed(self, units: Floats, batches: Randomness | None) -> ClippedSum:
        like = as_arrays(np.zeros(self.dimension))
        state = self.aggregator.init(like)
        for index in np.flatnonzero(self.sampled(len(units), batches)):
            try:
                state = self.aggregator.accumulate(state, self._decoded(units[index], int(index), like))
            except FedcompError:
                continue
        return state

    def _released(self, total: ClippedSum, noise: Randomness | None) -> Floats:
        return as_vector(arrays.scale(self.aggregator.release(total, noise), 1 / self.aggregator.factor))

    def _decoded(self, unit: Floats, index: int, like: arrays.Arrays) -> arrays.Arrays:
        update = as_arrays(unit)
        if self.codec is None:
            return update
        payload = self.codec.encode(update, rng=stream(0, "audit", index))
        return self.codec.decode(payload, max_values=arrays.num_values(like), reference=like)
