"""DP-SGD on one client's examples (Abadi et al., *Deep learning with differential privacy*, 2016)."""

import copy
import math

import numpy as np
from torch import nn

from fedcomp import arrays
from fedcomp.arrays import Array
from fedcomp.crypto import SecretStream
from fedcomp.privacy.mechanism import PrivateUpdate
from fedcomp.privacy.sampling import Indices, PoissonSampler
from fedcomp.rng import Randomness
from fedcomp.tasks.base import Split
from fedcomp.training.batches import gather
from fedcomp.training.clipping import ClippingEngine
from fedcomp.training.draws import Draws
from fedcomp.training.engines import choose_engine
from fedcomp.training.local import Loss
from fedcomp.training.model_state import get_arrays
from fedcomp.training.opacus_parts import StepRule
from fedcomp.training.private_model import check_private_model


def train_private(
    module: nn.Module,
    split: Split,
    *,
    loss: Loss,
    sampler: PoissonSampler,
    nominal_examples: float,
    max_grad_norm: float,
    noise_multiplier: float,
    learning_rate: float,
    momentum: float = 0.0,
    engine: type[ClippingEngine] | None = None,
    rows_at_once: int = 512,
    draws: Draws | None = None,
) -> PrivateUpdate:
    """Train a copy of ``module`` by DP-SGD and return its noised update with the event that says what was done.

    Each of ``sampler.steps`` steps draws a Poisson batch, clips every example's gradient to ``max_grad_norm``, sums,
    adds Gaussian noise of standard deviation ``noise_multiplier * max_grad_norm``, and divides by
    ``sampler.sampling_probability * nominal_examples``, which is a public constant. An empty batch is a step of noise
    alone. Batches and noise come from fresh operating system entropy in every call, so that no two calls share any.

    Nothing else leaves: no loss, no number of examples, no batch size. ``module`` is not changed.
    Guarantee: for two data sets that differ by one example, each step's sum moves by at most ``max_grad_norm`` in L2
    norm (up to 1e-5 of it in float32), whatever the example holds, NaN included; all else is equal. The noise comes
    from a cryptographic stream, in floating point.

    Args:
        module: the model that holds the state to start from.
        split: the client's rows; ``inputs`` may be a memory-mapped float16 array.
        loss: ``loss(outputs, targets)`` returns one value an example.
        sampler: draws the batches, and gives the event; its population is the split's length.
        nominal_examples: public number of examples that a client is taken to hold.
        max_grad_norm: bound on the L2 norm of one example's gradient, over all parameters as one vector.
        noise_multiplier: standard deviation of the noise over ``max_grad_norm``; 0 gives a ``NonPrivate`` event.
        learning_rate: step length.
        momentum: of SGD, in [0, 1); starts at zero in every call.
        engine: how gradients are clipped; found out by ``choose_engine`` if left out.
        rows_at_once: rows in memory at once; the result does not depend on it.
        draws: for tests and the auditor alone: gives batches and noise instead of the system. The event is then
            ``NonPrivate``.

    Raises:
        UnsupportedModel: for a model whose gradients cannot be clipped by example.
        ValueError: for a value out of range, or a sampler of another population.
    """
    _check(split, sampler, max_grad_norm, noise_multiplier, learning_rate, momentum, nominal_examples, rows_at_once)
    check_private_model(module)
    engine = engine or choose_engine(module, loss, split.inputs, split.targets).engine
    drawn = draws or Draws(batches=SecretStream(), noise=SecretStream())
    expected = sampler.sampling_probability * nominal_examples
    rule = StepRule(max_grad_norm, noise_multiplier, expected, learning_rate, momentum, drawn.noise)
    trained = copy.deepcopy(module)
    _run(engine(trained, loss, rule), split, sampler, drawn.batches, rows_at_once)
    update = arrays.subtract(get_arrays(trained), get_arrays(module))
    return PrivateUpdate(update, sampler.event(0.0 if draws else noise_multiplier))


def clipped_gradient_sum(
    module: nn.Module,
    split: Split,
    *,
    loss: Loss,
    sampler: PoissonSampler,
    max_grad_norm: float,
    engine: type[ClippingEngine] | None = None,
    rows_at_once: int = 512,
    draws: Draws | None = None,
) -> dict[str, Array]:
    """Return the sum over one Poisson batch of gradients, each clipped to ``max_grad_norm``. Private: without noise.

    For mode ``central``, whose server adds the noise to the sum over all clients. For two data sets that differ by one
    example the sum moves by at most ``max_grad_norm`` in L2 norm (up to 1e-5 of it in float32), whatever the example
    holds. The batch comes from fresh operating system entropy in every call. Arrays are those of ``get_arrays``;
    buffers are zero. ``module`` is not changed. Arguments are those of ``train_private``; of ``draws`` only the batches
    are used.

    Raises:
        UnsupportedModel: for a model whose gradients cannot be clipped by example.
        ValueError: for a value out of range, a sampler of another population, or one of several steps.
    """
    if sampler.steps != 1:
        raise ValueError(f"steps must be 1, got {sampler.steps}")
    _check(split, sampler, max_grad_norm, 0.0, 1.0, 0.0, 1.0, rows_at_once)
    check_private_model(module)
    engine = engine or choose_engine(module, loss, split.inputs, split.targets).engine
    rng: Randomness = draws.batches if draws else SecretStream()
    summing = engine(copy.deepcopy(module), loss, StepRule(max_grad_norm, 0.0, 1.0, 1.0, 0.0, rng))
    for batch in sampler.batches(rng):
        _accumulate(summing, split, batch, rows_at_once)
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    sums = dict(zip(names, summing.clipped_sum(), strict=True))
    found = arrays.zeros_like(get_arrays(module))
    for name, total in sums.items():
        found[name] = np.asarray(total.detach().cpu().numpy()).reshape(found[name].shape)
    return found


def _accumulate(engine: ClippingEngine, split: Split, batch: Indices, rows_at_once: int) -> None:
    rows = np.sort(batch)  # ascending: a memory-mapped file is read front to back
    for start in range(0, len(rows), rows_at_once):
        some = rows[start : start + rows_at_once]
        engine.accumulate(gather(split.inputs, some), gather(split.targets, some))


def _run(engine: ClippingEngine, split: Split, sampler: PoissonSampler, rng: Randomness, rows_at_once: int) -> None:
    steps = 0
    for batch in sampler.batches(rng):
        _accumulate(engine, split, batch, rows_at_once)
        engine.step()
        steps += 1
    if steps != sampler.steps:
        raise RuntimeError(f"expected {sampler.steps} steps, as the event says, took {steps}")


def _check(
    split: Split,
    sampler: PoissonSampler,
    max_grad_norm: float,
    noise_multiplier: float,
    learning_rate: float,
    momentum: float,
    nominal_examples: float,
    rows_at_once: int,
) -> None:
    if sampler.population != len(split):
        raise ValueError("the sampler must draw from the split's rows, got a sampler of another population")
    positive = {
        "max_grad_norm": max_grad_norm,
        "learning_rate": learning_rate,
        "nominal_examples": nominal_examples,
        "rows_at_once": rows_at_once,
    }
    for name, value in positive.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be greater than 0 and finite, got {value}")
    if not (noise_multiplier >= 0 and math.isfinite(noise_multiplier)):
        raise ValueError(f"noise_multiplier must be at least 0 and finite, got {noise_multiplier}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
