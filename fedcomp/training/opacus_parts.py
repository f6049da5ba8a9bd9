"""Opacus 1.6 with its silent failures closed: the wrapped module, its loss and the optimizers that DP-SGD uses here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.grad_sample.conv import compute_conv_grad_sample
from opacus.grad_sample.linear import compute_linear_grad_sample
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping, DPTensorFastGradientClipping
from torch import nn

from fedcomp.rng import Randomness
from fedcomp.training.local import Loss
from fedcomp.training.norms import lengths

_GradientsOf = Callable[[Any, list[torch.Tensor], torch.Tensor], dict[nn.Parameter, torch.Tensor]]


@dataclass(frozen=True)
class StepRule:
    """The public constants of one DP-SGD step, and the secret generator of its noise."""

    max_grad_norm: float
    noise_multiplier: float
    expected_batch_size: float
    """What the noisy sum is divided by. A constant that everybody knows, never the size of a batch or a data set."""
    learning_rate: float
    momentum: float
    noise_rng: Randomness


class Criterion:
    """A per-example loss as Opacus wants it: with a ``reduction`` to look at, which it may not set on ours."""

    reduction = "mean"

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return ``[n]`` losses; a loss that is summed already is refused, nothing could be clipped by example."""
        losses = self._loss(outputs, targets)
        if losses.shape != (len(targets),):
            raise ValueError(f"loss must return one value an example, [{len(targets)}], got {list(losses.shape)}")
        return losses


def _linear_norms(
    layer: nn.Linear, activations: list[torch.Tensor], backprops: torch.Tensor
) -> dict[nn.Parameter, torch.Tensor]:
    if backprops.dim() != 2:
        return _held_norms(layer, activations, backprops, compute_linear_grad_sample)
    # A product of two norms, as Opacus', at a fifth of the time (a batched product of [1, d] by [d, 1] is slow on a
    # CPU), and neither can vanish in float32.
    bias = lengths(backprops)
    norms: dict[Any, torch.Tensor] = {}
    if layer.weight.requires_grad:
        norms[layer.weight] = (bias * lengths(activations[0])).to(backprops.dtype)
    if layer.bias is not None and layer.bias.requires_grad:
        norms[layer.bias] = bias.to(backprops.dtype)
    return norms


def _convolution_norms(
    layer: Any, activations: list[torch.Tensor], backprops: torch.Tensor
) -> dict[nn.Parameter, torch.Tensor]:
    """Return what Opacus computes too, which sums millions of squares in float32 and comes out short."""
    return _held_norms(layer, activations, backprops, compute_conv_grad_sample)


def _held_norms(
    layer: Any, activations: list[torch.Tensor], backprops: torch.Tensor, gradients_of: _GradientsOf
) -> dict[nn.Parameter, torch.Tensor]:
    """Return norms of gradients that are held, some rows at a time.

    Of a linear layer over positions, Opacus adds up products of inner products of all pairs of positions. Where
    positions cancel, what is left of that sum in float32 may be 0 for a gradient that is ten times the bound.
    """
    found: dict[Any, list[torch.Tensor]] = {}
    (inputs,), size = activations, max(1, 2**24 // layer.weight.numel())
    for start in range(0, len(inputs), size):
        held = gradients_of(layer, [inputs[start : start + size]], backprops[start : start + size])
        for parameter, gradients in held.items():
            found.setdefault(parameter, []).append(lengths(gradients.flatten(1)).to(backprops.dtype))
    return {parameter: torch.cat(norms) for parameter, norms in found.items()}


class GhostModule(GradSampleModuleFastGradientClipping):  # type: ignore[misc]
    """Opacus' ghost clipping, with a coefficient of zero for a row whose norm is not finite.

    ``kept`` is the mask ``[n]`` of rows with a finite norm in the last backward pass.
    """

    NORM_SAMPLERS: ClassVar[dict[type[nn.Module], Any]] = {
        **GradSampleModuleFastGradientClipping.NORM_SAMPLERS,
        nn.Linear: _linear_norms,
        **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution_norms),
    }
    kept: torch.Tensor

    def __init__(self, module: nn.Module, max_grad_norm: float) -> None:
        super().__init__(module, max_grad_norm=max_grad_norm, use_ghost_clipping=True)
        self.outputs: list[torch.Tensor] = []

    def capture_activations_hook(self, module: nn.Module, inputs: list[torch.Tensor], output: Any) -> None:
        """Remember the layer's output beside its input: the first pass stops there."""
        super().capture_activations_hook(module, inputs, output)
        if self.hooks_enabled and torch.is_grad_enabled() and isinstance(output, torch.Tensor):
            self.outputs.append(output)

    def get_clipping_coef(self) -> torch.Tensor:
        """Return ``[n]`` factors that bring every row's norm under the bound."""
        norms = self.get_norm_sample()
        self.kept = torch.isfinite(norms)
        return torch.where(self.kept, (self.max_grad_norm / (norms + 1e-6)).clamp(max=1.0), 0.0)


class GhostLoss(DPLossFastGradientClipping):  # type: ignore[misc]
    """Opacus' loss, the one thing that clips in ghost mode (a plain ``loss.backward()`` would not, and nobody would
    notice), with a first pass that stops at the layers' outputs: gradients of weights are not needed for norms."""

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> "_TwoPasses":
        """Return the batch's loss; its ``backward`` leaves the clipped sum in every parameter's ``grad``."""
        plain = super().__call__(outputs, targets)
        return _TwoPasses(plain.module, plain.optimizer, plain.loss_per_sample, plain.loss_reduction)


class _TwoPasses(DPTensorFastGradientClipping):  # type: ignore[misc]
    def backward(self) -> None:
        """Leave the sum of clipped gradients in every parameter's ``grad``."""
        outputs, self.module.outputs = self.module.outputs, []
        torch.autograd.grad(self.loss_per_sample.mean(), outputs, retain_graph=True)
        self.optimizer.zero_grad(set_to_none=True)
        coefficients = self.module.get_clipping_coef()
        self.module.disable_hooks()
        (coefficients * self.loss_per_sample).sum().backward()
        self.module.enable_hooks()


class _SecretNoise:
    """Gaussian noise from a secret stream: torch's own generator keeps 32 bits of any seed that it is given, so that
    two of 65,000 calls would share their noise, and whoever tries all seeds could subtract it."""

    params: list[Any]
    noise_multiplier: float
    max_grad_norm: float
    noise_rng: Randomness

    def add_noise(self) -> None:
        deviation = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            total = parameter.summed_grad
            _check_processed_flag(total)
            noise = torch.from_numpy(np.asarray(self.noise_rng.standard_normal(tuple(total.shape), dtype=np.float32)))
            parameter.grad = torch.add(total, noise.to(total.dtype), alpha=deviation).view_as(parameter)
            _mark_as_processed(total)


class SumOptimizer(_SecretNoise, DPOptimizerFastGradientClipping):  # type: ignore[misc]
    """Opacus' optimizer over a sum that is clipped already, with secret noise."""

    def __init__(self, parameters: list[nn.Parameter], rule: StepRule) -> None:
        super().__init__(_sgd(parameters, rule), **_constants(rule))
        self.noise_rng = rule.noise_rng


class HookOptimizer(_SecretNoise, DPOptimizer):  # type: ignore[misc]
    """Opacus' optimizer over per-example gradients, with secret noise; a row that is not finite counts as zero."""

    def __init__(self, parameters: list[nn.Parameter], rule: StepRule) -> None:
        super().__init__(_sgd(parameters, rule), **_constants(rule))
        self.noise_rng = rule.noise_rng

    def clip_and_accumulate(self) -> None:
        """Zero rows that are not finite, clip the others, and add them to the sum.

        As Opacus does, but by norms that do not come out short; a batch without rows adds zeros.
        """
        samples = self.grad_samples
        norms = torch.stack([lengths(each.flatten(1)) for each in samples]).norm(dim=0)
        kept = torch.isfinite(norms)
        factors = torch.where(kept, (self.max_grad_norm / (norms + 1e-6)).clamp(max=1.0), 0.0)
        for parameter, gradients in zip(self.params, samples, strict=True):
            _check_processed_flag(parameter.grad_sample)
            if not kept.all():
                gradients[~kept] = 0.0  # a factor of zero is not enough: 0 * inf is NaN in the sum over rows
            total = torch.einsum("i,i...", factors.to(parameter.dtype), gradients)
            held = parameter.summed_grad
            parameter.summed_grad = total if held is None else held + total
            _mark_as_processed(parameter.grad_sample)


def _constants(rule: StepRule) -> dict[str, Any]:
    return {
        "noise_multiplier": rule.noise_multiplier,
        "max_grad_norm": rule.max_grad_norm,
        "expected_batch_size": rule.expected_batch_size,
    }


def _sgd(parameters: list[nn.Parameter], rule: StepRule) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=rule.learning_rate, momentum=rule.momentum)
