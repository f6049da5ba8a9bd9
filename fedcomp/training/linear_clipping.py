"""Clipping in closed form, for models whose only trainable layer is one linear map of fixed features.

The gradient of one example is an outer product: with features x and the loss's gradient d by the layer's outputs it is
d x^T for the weight and d for the bias, so its norm is |d| sqrt(|x|^2 + 1) (Goodfellow, *Efficient per-example gradient
computations*, 2015). One pass through the layer gives d for any loss, and one product of matrices the clipped sum.
"""

import torch
from torch import nn

from fedcomp.training.clipping import SumClipping
from fedcomp.training.local import Loss
from fedcomp.training.norms import lengths
from fedcomp.training.opacus_parts import StepRule

_LARGEST = torch.finfo(torch.float32).max


class LinearClipping(SumClipping):
    """Clips an ``nn.Linear``, alone or in an ``nn.Sequential`` of layers without trainable parameters.

    Two products of matrices a batch, as in plain SGD, and no gradient of one example is ever held. Neither factor of a
    norm can vanish or overflow unseen.

    Raises:
        ValueError: for a model of another form.
    """

    name = "linear"

    def __init__(self, module: nn.Module, loss: Loss, rule: StepRule) -> None:
        parts = linear_parts(module)
        if parts is None:
            raise ValueError("module must be one trainable nn.Linear among layers without trainable parameters")
        super().__init__(module, loss, rule)
        self._before, self._head, self._after = parts

    def _accumulate(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        with torch.no_grad():
            features = self._before(inputs)
            if features.dim() != 2:
                raise ValueError(f"features must be [n, d], got {list(features.shape)}")
            outputs = self._head(features)
        losses = self._criterion(self._after(outputs.requires_grad_()), targets)
        (slopes,) = torch.autograd.grad(losses.sum(), outputs)
        norms = self._norms(features, slopes)
        kept = norms <= _LARGEST  # NaN is not; and 0 * inf is NaN, so the row itself has to go
        if not kept.all():
            features, slopes, norms = features[kept], slopes[kept], norms[kept]
        factors = (self.rule.max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
        self._add((factors[:, None] * slopes).to(features.dtype), features)

    def _norms(self, features: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        squares = torch.zeros(len(features), dtype=torch.float64)
        if self._head.weight.requires_grad:
            squares += lengths(features) ** 2
        if self._bias() is not None:
            squares += 1.0
        return lengths(slopes) * squares.sqrt()

    def _add(self, slopes: torch.Tensor, features: torch.Tensor) -> None:
        sums = dict(zip(self.parameters, self._sum, strict=True))
        if self._head.weight.requires_grad:
            sums[self._head.weight].addmm_(slopes.T, features)
        if (bias := self._bias()) is not None:
            sums[bias].add_(slopes.sum(dim=0))

    def _bias(self) -> nn.Parameter | None:
        bias = self._head.bias
        return bias if bias is not None and bias.requires_grad else None


def linear_parts(module: nn.Module) -> tuple[nn.Module, nn.Linear, nn.Module] | None:
    """Return what comes before the one trainable ``nn.Linear``, that layer, and what comes after it; None without.

    Only the type itself counts: a subclass may compute something else.
    """
    layers = list(_flat(module))
    trained = [at for at, layer in enumerate(layers) if any(p.requires_grad for p in layer.parameters())]
    if len(trained) != 1:
        return None
    head = layers[trained[0]]
    if type(head) is not nn.Linear:
        return None
    return nn.Sequential(*layers[: trained[0]]), head, nn.Sequential(*layers[trained[0] + 1 :])


def _flat(module: nn.Module) -> list[nn.Module]:
    if type(module) is not nn.Sequential:
        return [module]
    return [layer for child in module for layer in _flat(child)]
