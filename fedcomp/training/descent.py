"""What a step of plain local training does with a gradient: SGD with momentum, or AdamW."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch

from fedcomp.errors import ConfigError

Optimizer = Literal["sgd", "adamw"]
Descend = Callable[[Sequence[torch.Tensor]], None]


def check_optimizer(optimizer: str, momentum: float, *, by_example: bool) -> None:
    """Refuse an optimizer that there is not, or one that the rest of the config has no use for.

    Raises:
        ConfigError: naming what was expected and what came.
    """
    if optimizer not in get_args(Optimizer):
        expected = " or ".join(get_args(Optimizer))
        raise ConfigError([f"training.optimizer: expected {expected}, got {optimizer!r}"])
    if optimizer == "adamw" and by_example:
        why = "where gradients of examples are clipped and noised"
        raise ConfigError([f"training.optimizer: expected sgd under DP-SGD ({why}), got {optimizer!r}"])
    if optimizer == "adamw" and momentum:
        raise ConfigError([f"training.momentum: expected 0 with adamw, which has its own, got {momentum:g}"])


def descent(parameters: Sequence[torch.Tensor], optimizer: str, learning_rate: float, momentum: float) -> Descend:
    """Return what moves ``parameters`` in place, given a gradient for each of them; its memory starts empty.

    ``adamw``: Loshchilov and Hutter, *Decoupled weight decay regularization* (2019), here with decay 0, averages
    that keep .9 and .98 (as Vaswani et al., 2017, for the Transformer), and gradients of all parameters together
    scaled down to norm 1 where they are longer: one odd batch would spoil the averages of a whole visit.

    Raises:
        ConfigError: as ``check_optimizer`` does.
    """
    check_optimizer(optimizer, momentum, by_example=False)
    return _adamw(parameters, learning_rate) if optimizer == "adamw" else _sgd(parameters, learning_rate, momentum)


def _sgd(parameters: Sequence[torch.Tensor], learning_rate: float, momentum: float) -> Descend:
    # the same arithmetic as torch.optim.SGD, without its bookkeeping: that costs more than a tiny client's step
    velocity = [torch.zeros_like(parameter) for parameter in parameters] if momentum else []

    def descend(gradients: Sequence[torch.Tensor]) -> None:
        with torch.no_grad():
            direction = list(gradients)
            if velocity:
                torch._foreach_mul_(velocity, momentum)
                torch._foreach_add_(velocity, direction)
                direction = velocity
            torch._foreach_add_(list(parameters), direction, alpha=-learning_rate)

    return descend


def _adamw(parameters: Sequence[torch.Tensor], learning_rate: float) -> Descend:
    # foreach: one kernel for all tensors, and the only one of the implementations that is as fast on small models
    stepper = torch.optim.AdamW(list(parameters), learning_rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)

    def descend(gradients: Sequence[torch.Tensor]) -> None:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        stepper.step()
        stepper.zero_grad(set_to_none=True)

    return descend
