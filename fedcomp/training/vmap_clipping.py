"""Clipping by per-example gradients from ``torch.func``: right wherever torch can map a model over single rows."""

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from fedcomp.training.clipping import SumClipping, pieces
from fedcomp.training.local import Loss
from fedcomp.training.norms import lengths
from fedcomp.training.opacus_parts import StepRule


class VmapClipping(SumClipping):
    """Maps the gradient of one example over the rows of a batch, and clips what comes out.

    Knows nothing of layers: a weight that is shared, or used outside of its layer, is differentiated as a whole. Rows
    go in pieces whose gradients take 16 MiB at most, or one by one. Dropout draws for each row apart.
    """

    name = "vmap"

    def __init__(self, module: nn.Module, loss: Loss, rule: StepRule) -> None:
        super().__init__(module, loss, rule)
        trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        self._weights = {name: p.detach() for name, p in zip(trained, self.parameters, strict=True)}
        fixed = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
        fixed |= dict(module.named_buffers())

        def one(weights: dict[str, torch.Tensor], row: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            outputs = functional_call(module, weights | fixed, (row.unsqueeze(0),))
            return self._criterion(outputs, target.unsqueeze(0)).sum()

        self._gradients = vmap(grad(one), in_dims=(None, 0, 0), randomness="different")

    def _accumulate(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        for rows, answers in pieces(self.parameters, inputs, targets):
            found = self._gradients(self._weights, rows, answers)
            self._add([found[name].flatten(1) for name in self._weights])

    def _add(self, gradients: list[torch.Tensor]) -> None:
        norms = torch.stack([lengths(each) for each in gradients]).norm(dim=0)
        kept = torch.isfinite(norms)
        if not kept.all():
            gradients, norms = [each[kept] for each in gradients], norms[kept]
        factors = (self.rule.max_grad_norm / (norms + 1e-6)).clamp(max=1.0).to(gradients[0].dtype)
        for total, each in zip(self._sum, gradients, strict=True):
            total.add_((factors @ each).view_as(total))
