"""The sum of per-example clipped gradients: what DP-SGD adds its noise to.

An *engine* wraps a module for one training and is thrown away with it: ``accumulate`` adds the clipped gradients of
some rows, ``step`` adds noise once, divides by the public batch size and descends. Rows may come in any number of
pieces, and a step without any is a step too.

=====================================  =================================================================
a row whose gradient is not finite     contributes zero; the others are as if it were not in the batch
a row whose gradient is zero           contributes zero
a row with an input beyond 1e9         is left out unseen: its squared norm would not fit float32
no row                                 noise alone, and the step is taken
one row's contribution                 has an L2 norm of at most ``max_grad_norm * (1 + 1e-5)``
=====================================  =================================================================
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from opacus import GradSampleModule
from torch import nn

from fedcomp.training.local import Loss
from fedcomp.training.opacus_parts import Criterion, GhostLoss, GhostModule, HookOptimizer, StepRule, SumOptimizer

LARGEST_INPUT = 1e9
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_GRADIENT_VALUES = 2**22
_CONVOLVED_ROWS = 128
"""Both bounds are for speed (``benchmarks/clipping_engines.py``): what is held for more rows leaves the cache."""


class ClippingEngine(ABC):
    """A module in the hands of one private training; see the file's table for its edge cases."""

    name: ClassVar[str]
    """What a run's records call it."""

    def __init__(self, module: nn.Module, loss: Loss, rule: StepRule) -> None:
        self.rule = rule
        self.parameters: list[Any] = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._criterion = Criterion(loss)
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
        """Return copies of the sum so far, parameter by parameter. Private: there is no noise on it yet."""

    @abstractmethod
    def step(self) -> None:
        """Add noise to the sum, divide it by the public batch size, descend, and start from zero again."""

    @abstractmethod
    def _accumulate(self, inputs: torch.Tensor, targets: torch.Tensor) -> None: ...


class SumClipping(ClippingEngine):
    """An engine that holds the sum of what it clipped so far, and nothing else of the rows."""

    def __init__(self, module: nn.Module, loss: Loss, rule: StepRule) -> None:
        super().__init__(module, loss, rule)
        self._optimizer = SumOptimizer(self.parameters, rule)
        self._start()

    def clipped_sum(self) -> list[torch.Tensor]:
        """Return copies of the sum so far."""
        return [total.clone() for total in self._sum]

    def step(self) -> None:
        """Add noise, divide, descend, and start from zero again."""
        for parameter, total in zip(self.parameters, self._sum, strict=True):
            parameter.grad = total
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._start()

    def _start(self) -> None:
        self._sum = [torch.zeros_like(parameter, requires_grad=False) for parameter in self.parameters]


class GhostClipping(SumClipping):
    """Clips without holding per-example gradients: norms in a first backward pass, the weighted sum in a second.

    Goodfellow, *Efficient per-example gradient computations* (2015); Li et al., *Large language models can be strong
    differentially private learners* (2022). Not for every model: Opacus refuses tied weights.
    """

    name = "ghost"

    def __init__(self, module: nn.Module, loss: Loss, rule: StepRule) -> None:
        super().__init__(module, loss, rule)
        self._wrapped = GhostModule(module, rule.max_grad_norm)
        self._loss = GhostLoss(self._wrapped, self._optimizer, self._criterion)
        self._convolves = any(isinstance(layer, CONVOLUTIONS) for layer in module.modules())

    def _accumulate(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        size = _CONVOLVED_ROWS if self._convolves else len(inputs)
        for start in range(0, len(inputs), size):
            self._add(inputs[start : start + size], targets[start : start + size])

    def _add(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        for parameter in self.parameters:
            parameter.__dict__.pop("_norm_sample", None)  # a layer that is passed by must not be judged by an old norm
        self._loss(self._wrapped(inputs), targets).backward()
        kept = self._wrapped.kept
        if kept.all():
            torch._foreach_add_(self._sum, [parameter.grad for parameter in self.parameters])
        elif kept.any():
            # a coefficient of zero is not enough: 0 * inf is NaN in the sum over rows, so the row itself has to go
            self._add(inputs[kept], targets[kept])


class HookClipping(ClippingEngine):
    """Holds every per-example gradient and clips that: slower, and right for tied weights and recurrent layers too."""

    name = "hooks"

    def __init__(self, module: nn.Module, loss: Loss, rule: StepRule) -> None:
        super().__init__(module, loss, rule)
        self._wrapped = GradSampleModule(module, strict=True)
        self._optimizer = HookOptimizer(self.parameters, rule)

    def clipped_sum(self) -> list[torch.Tensor]:
        """Return copies of the sum so far."""
        sums = [getattr(parameter, "summed_grad", None) for parameter in self.parameters]
        return [torch.zeros_like(p) if s is None else s.clone() for p, s in zip(self.parameters, sums, strict=True)]

    def step(self) -> None:
        """Add noise, divide, descend, and start from zero again."""
        for parameter in self.parameters:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # the step clips once more: nothing
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _accumulate(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        for rows, answers in pieces(self.parameters, inputs, targets):
            losses: torch.Tensor = self._criterion(self._wrapped(rows), answers)
            losses.mean().backward()  # type: ignore[no-untyped-call]
            self._optimizer.clip_and_accumulate()
            for parameter in self.parameters:
                parameter.grad_sample = None


def usable_rows(inputs: torch.Tensor) -> torch.Tensor:
    """Return a mask ``[n]`` of the rows whose inputs are all finite and at most 1e9 in magnitude.

    The rule looks at one row at a time, so leaving a row out changes nothing about the others.
    """
    if not inputs.is_floating_point() or not inputs.numel():
        return torch.ones(len(inputs), dtype=torch.bool)
    low, high = inputs.aminmax()  # NaN comes through and compares as False; ten times faster than row by row
    if low >= -LARGEST_INPUT and high <= LARGEST_INPUT:
        return torch.ones(len(inputs), dtype=torch.bool)
    return (inputs.abs() <= LARGEST_INPUT).flatten(1).all(dim=1)


def pieces(
    parameters: list[nn.Parameter], inputs: torch.Tensor, targets: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the rows in pieces whose per-example gradients take 16 MiB at most, or one row at a time."""
    size = max(1, _GRADIENT_VALUES // sum(parameter.numel() for parameter in parameters))
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size], targets[start : start + size]


@contextmanager
def _quiet_hooks() -> Iterator[None]:
    with warnings.catch_warnings():
        # torch warns that the inputs need no gradient; right so, the hooks read the gradients of outputs
        warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
        yield
