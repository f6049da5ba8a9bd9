"""The sum of per-example clipped gradients, computed by Opacus, and what stands between it and a silent failure.

An *engine* wraps a module for one training and is thrown away with it: ``accumulate`` adds the clipped gradients of
some rows, ``step`` adds noise once, divides by the public batch size and descends. Rows may come in any number of
pieces, none at all included.

========================================  ==================================================================
a row whose gradient is not finite        contributes zero; the other rows are as if it were not in the batch
a row whose gradient is zero              contributes zero
a row with an input beyond 1e9            is not looked at (its squared norm would not fit float32)
no row                                    noise alone, and the step is taken
a row's contribution                      L2 norm at most ``max_grad_norm`` times (1 + 1e-5)
========================================  ==================================================================
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn

from fedcomp.training.local import Loss

LARGEST_INPUT = 1e9


@dataclass(frozen=True)
class StepRule:
    """The public constants of one DP-SGD step, and the secret generator of its noise."""

    max_grad_norm: float
    noise_multiplier: float
    expected_batch_size: float
    """What the noisy sum is divided by. A constant that everybody knows, never the size of a batch or a data set."""
    learning_rate: float
    momentum: float
    noise_rng: np.random.Generator


class ClippingEngine(ABC):
    """A module wrapped by Opacus for one private training; see the module's table for its edge cases."""

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._criterion = _Criterion(loss)
        module.train()

    def accumulate(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Add the clipped gradients of these rows to the sum."""
        kept = usable_rows(inputs)
        if not kept.all():
            inputs, targets = inputs[kept], targets[kept]
        if len(inputs):
            with _quiet_hooks():
                self._accumulate(inputs, targets)

    @abstractmethod
    def clipped_sum(self) -> list[torch.Tensor]:
        """Return the sum so far, parameter by parameter. Private: it has no noise yet."""

    @abstractmethod
    def step(self) -> None:
        """Add noise to the sum, divide, descend, and start from zero again."""

    @abstractmethod
    def _accumulate(self, inputs: torch.Tensor, targets: torch.Tensor) -> None: ...


class GhostClipping(ClippingEngine):
    """Clips without holding per-example gradients: norms in a first backward pass, the weighted sum in a second.

    Goodfellow, *Efficient per-example gradient computations* (2015); Li et al., *Large language models can be strong
    differentially private learners* (2022). Does not work for every model: tied weights are refused by Opacus.
    """

    def __init__(self, module: nn.Module, loss: Loss, rule: StepRule) -> None:
        super().__init__(module, loss)
        self._wrapped = _GhostModule(module, max_grad_norm=rule.max_grad_norm, use_ghost_clipping=True)
        self._optimizer = _GhostOptimizer(_sgd(self.parameters, rule), rule)
        # the loss of Opacus is the one thing that clips here: a plain loss.backward() would not, and nobody would notice
        self._loss = DPLossFastGradientClipping(self._wrapped, self._optimizer, self._criterion)
        self._sum = [torch.zeros_like(parameter) for parameter in self.parameters]

    def clipped_sum(self) -> list[torch.Tensor]:
        """Return the sum so far."""
        return self._sum

    def step(self) -> None:
        """Add noise to the sum, divide, descend, and start from zero again."""
        for parameter, total in zip(self.parameters, self._sum, strict=True):
            parameter.grad = total
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._sum = [torch.zeros_like(parameter) for parameter in self.parameters]

    def _accumulate(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        for parameter in self.parameters:
            parameter.__dict__.pop("_norm_sample", None)  # a layer that is skipped must not be judged by an old norm
        self._loss(self._wrapped(inputs), targets).backward()
        kept = self._wrapped.kept
        if kept.all():
            torch._foreach_add_(self._sum, [parameter.grad for parameter in self.parameters])
        elif kept.any():
            # a coefficient of zero is not enough: 0 * inf is NaN in the sum over rows, so the row itself has to go
            self._accumulate(inputs[kept], targets[kept])


class HookClipping(ClippingEngine):
    """Holds every per-example gradient, and clips that: slower, and right for every model that Opacus knows."""

    def __init__(self, module: nn.Module, loss: Loss, rule: StepRule) -> None:
        super().__init__(module, loss)
        self._wrapped = GradSampleModule(module, strict=True)
        self._optimizer = _HookOptimizer(_sgd(self.parameters, rule), rule)
        self.step_count = 0

    def clipped_sum(self) -> list[torch.Tensor]:
        """Return the sum so far."""
        return [p.summed_grad if p.summed_grad is not None else torch.zeros_like(p) for p in self.parameters]

    def step(self) -> None:
        """Add noise to the sum, divide, descend, and start from zero again."""
        for parameter in self.parameters:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # what a step without a new row takes
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _accumulate(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self._criterion(self._wrapped(inputs), targets).mean().backward()
        self._optimizer.clip_and_accumulate()
        for parameter in self.parameters:
            parameter.grad_sample = None


def usable_rows(inputs: torch.Tensor) -> torch.Tensor:
    """Return a mask ``[n]`` of the rows whose inputs are all finite and at most 1e9 in magnitude.

    The rule looks at one row at a time, so leaving a row out changes nothing about the others.
    """
    if not inputs.is_floating_point() or not len(inputs):
        return torch.ones(len(inputs), dtype=torch.bool)
    low, high = inputs.flatten(1).aminmax(dim=1)
    return (low >= -LARGEST_INPUT) & (high <= LARGEST_INPUT)  # False for NaN, which aminmax hands on


class _Criterion:
    reduction = "mean"  # what Opacus looks at; the loss itself always returns one value an example

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = self._loss(outputs, targets)
        if losses.shape != (len(targets),):
            raise ValueError(f"loss must return one value an example, [{len(targets)}], got {list(losses.shape)}")
        return losses


class _GhostModule(GradSampleModuleFastGradientClipping):  # type: ignore[misc]
    kept: torch.Tensor

    def get_clipping_coef(self) -> torch.Tensor:
        norms = self.get_norm_sample()
        self.kept = torch.isfinite(norms)
        return torch.where(self.kept, (self.max_grad_norm / (norms + 1e-6)).clamp(max=1.0), 0.0)


class _SecretNoise:
    """Gaussian noise from 128 bits of entropy: torch's own CPU generator keeps 32 bits of any seed it is given."""

    params: list[nn.Parameter]
    noise_multiplier: float
    max_grad_norm: float
    noise_rng: np.random.Generator

    def add_noise(self) -> None:
        deviation = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            total: Any = parameter.summed_grad  # type: ignore[attr-defined]
            _check_processed_flag(total)
            noise = torch.from_numpy(self.noise_rng.standard_normal(tuple(total.shape), dtype=np.float32))
            parameter.grad = torch.add(total, noise.to(total.dtype), alpha=deviation).view_as(parameter)
            _mark_as_processed(total)


class _GhostOptimizer(_SecretNoise, DPOptimizerFastGradientClipping):  # type: ignore[misc]
    def __init__(self, optimizer: torch.optim.Optimizer, rule: StepRule) -> None:
        super().__init__(optimizer, **_constants(rule))
        self.noise_rng = rule.noise_rng


class _HookOptimizer(_SecretNoise, DPOptimizer):  # type: ignore[misc]
    def __init__(self, optimizer: torch.optim.Optimizer, rule: StepRule) -> None:
        super().__init__(optimizer, **_constants(rule))
        self.noise_rng = rule.noise_rng

    def clip_and_accumulate(self) -> None:
        kept = torch.stack([torch.isfinite(each).flatten(1).all(dim=1) for each in self.grad_samples]).all(dim=0)
        if not kept.all():
            for parameter in self.params:
                parameter.grad_sample[~kept] = 0.0  # type: ignore[attr-defined]
        super().clip_and_accumulate()


def _constants(rule: StepRule) -> dict[str, Any]:
    return {
        "noise_multiplier": rule.noise_multiplier,
        "max_grad_norm": rule.max_grad_norm,
        "expected_batch_size": rule.expected_batch_size,
    }


def _sgd(parameters: list[nn.Parameter], rule: StepRule) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=rule.learning_rate, momentum=rule.momentum)


@contextmanager
def _quiet_hooks() -> Iterator[None]:
    with warnings.catch_warnings():
        # inputs need no gradient here, which is what torch warns about; the hooks read the gradient of outputs
        warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
        yield
