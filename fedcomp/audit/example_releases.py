"""Releases that protect examples: DP-SGD on a client, and the trusted server's sum of clipped gradients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp import arrays
from fedcomp.aggregation import PrivateSum
from fedcomp.audit.releases import Floats, ReleaseTerms, as_arrays, as_vector
from fedcomp.crypto import SecretStream
from fedcomp.privacy import PoissonSampler
from fedcomp.rng import Randomness
from fedcomp.tasks import Split
from fedcomp.training import Draws, clipped_gradient_sum, train_private
from fedcomp.training.clipping import ClippingEngine

_CLIENTS = 2


@dataclass(frozen=True)
class LocalRelease:
    """One step of ``training.train_private``, on a layer whose per-example gradient is whatever the auditor asks for.

    The layer is linear, and the loss of a row is ``target * output``: the gradient is ``target * (inputs, 1)``.
    """

    dimension: int
    sampling_probability: float
    nominal_examples: float
    max_grad_norm: float
    noise_multiplier: float
    engine: type[ClippingEngine]
    rows_at_once: int = 512

    @property
    def terms(self) -> ReleaseTerms:
        """What a client declares in its ledger."""
        noise_std = self.noise_multiplier * self.max_grad_norm
        return ReleaseTerms("example", self.max_grad_norm, noise_std, self.sampling_probability, 2)

    def observe(self, units: Floats, draws: Draws | None = None) -> Floats:
        """See ``ReleaseCode.observe``."""
        return self._release(_rows(units), draws)

    def many(self, units: Floats, releases: int) -> Iterator[Floats]:
        """See ``ReleaseCode.many``."""
        rows = _rows(units)
        return (self._release(rows, None) for _ in range(releases))

    def unsampled(self) -> "LocalRelease":
        """See ``ReleaseCode.unsampled``."""
        return replace(self, sampling_probability=1.0)

    def _release(self, rows: Split, draws: Draws | None) -> Floats:
        update = train_private(
            _layer(self.dimension),
            rows,
            loss=_loss,
            sampler=PoissonSampler(len(rows), self.sampling_probability, steps=1),
            nominal_examples=self.nominal_examples,
            max_grad_norm=self.max_grad_norm,
            noise_multiplier=self.noise_multiplier,
            learning_rate=1.0,
            engine=self.engine,
            rows_at_once=self.rows_at_once,
            draws=draws,
        )
        return -as_vector(update.arrays) * self.sampling_probability * self.nominal_examples

    def sampled(self, population: int, batches: Randomness | None = None) -> NDArray[np.bool_]:
        """See ``ReleaseCode.sampled``: read off a release without noise, in which each unit has its own coordinate."""
        code = replace(self, dimension=population + 1)
        return _seen(code.observe(apart(population), Draws(batches or SecretStream(), NoNoise())))


@dataclass(frozen=True)
class SummedRelease:
    """Sums of clipped gradients from two clients, added and noised as the trusted server does it."""

    dimension: int
    sampling_probability: float
    max_grad_norm: float
    aggregator: PrivateSum
    engine: type[ClippingEngine]

    @property
    def terms(self) -> ReleaseTerms:
        """What the server declares in its ledger."""
        mechanism = self.aggregator.mechanism
        return ReleaseTerms("example", mechanism.sensitivity, mechanism.noise_std, self.sampling_probability, 2)

    def observe(self, units: Floats, draws: Draws | None = None) -> Floats:
        """See ``ReleaseCode.observe``."""
        return self._release([_rows(share) for share in np.array_split(units, _CLIENTS)], draws)

    def many(self, units: Floats, releases: int) -> Iterator[Floats]:
        """See ``ReleaseCode.many``."""
        shares = [_rows(share) for share in np.array_split(units, _CLIENTS)]
        return (self._release(shares, None) for _ in range(releases))

    def unsampled(self) -> "SummedRelease":
        """See ``ReleaseCode.unsampled``."""
        return replace(self, sampling_probability=1.0)

    def _release(self, shares: Sequence[Split], draws: Draws | None) -> Floats:
        layer, state = _layer(self.dimension), self.aggregator.init(as_arrays(np.zeros(self.dimension)))
        for share in shares:
            total = clipped_gradient_sum(
                layer,
                share,
                loss=_loss,
                sampler=PoissonSampler(len(share), self.sampling_probability, steps=1),
                max_grad_norm=self.max_grad_norm,
                engine=self.engine,
                draws=draws,
            )
            state = self.aggregator.accumulate(state, total)
        released = self.aggregator.release(state, draws.noise if draws else None)
        return as_vector(arrays.scale(released, 1 / self.aggregator.factor))

    def sampled(self, population: int, batches: Randomness | None = None) -> NDArray[np.bool_]:
        """See ``ReleaseCode.sampled``."""
        code = replace(self, dimension=population + 1)
        return _seen(code.observe(apart(population), Draws(batches or SecretStream(), NoNoise())))


class NoNoise:
    """Draws zeros, so that the sum below the noise can be seen."""

    def random(self, size: object = None) -> NDArray[np.float64]:
        """Refuse: nothing uniform is drawn for noise."""
        raise RuntimeError("noise must be normal, got a call for uniform numbers")

    def standard_normal(self, size: tuple[int, ...] = (), dtype: type = np.float64) -> NDArray[np.float64]:
        """Return zeros."""
        return np.zeros(size, dtype)


def apart(count: int, length: float = 1e3) -> Floats:
    """Return units ``[count, count + 1]`` along coordinates of their own, far longer than any bound."""
    rows = np.concatenate([np.eye(count), np.full((count, 1), 1e-3)], axis=1)
    return np.asarray(rows * length)


def _seen(release: Floats) -> NDArray[np.bool_]:
    return np.asarray(release[:-1] > 0.5 * np.max(release[:-1], initial=1e-12))


def _layer(dimension: int) -> nn.Module:
    layer = nn.Linear(dimension - 1, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return outputs[:, 0] * targets.view(torch.float64).to(outputs.dtype)


def _rows(units: Floats) -> Split:
    scale = units[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        inputs = np.where(scale == 0, 0.0, units[:, :-1] / scale).astype(np.float32)
    # targets are whole numbers: these carry the bits of a float64
    return Split(inputs, np.ascontiguousarray(scale[:, 0], np.float64).view(np.int64), inputs)
