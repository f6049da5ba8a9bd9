"""Gradient inversion: the examples behind an update, rebuilt by whoever sees the update and the model."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.nn import functional

from fedcomp.audit.image_quality import SMALLEST_SIDE, psnr, ssim

Floats = NDArray[np.float64]
Method = Literal["analytic", "optimized"]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_ALTERNATIONS = 20
_SMALL = 1e-30


@dataclass(frozen=True, eq=False)
class InversionReport:
    """How near a reconstruction came.

    Attributes:
        psnr: in dB, mean over the examples, each at most 120; ``data_range`` is the width of the input range.
        ssim: mean over the examples; None for inputs that are not pictures of at least 7 pixels a side.
        cosine: of the angle between each example and its reconstruction, mean over the examples.
        method: how it was made.
        original: ``[n, ...]``.
        reconstruction: ``[n, ...]``, in the order of ``original``.
    """

    psnr: float
    ssim: float | None
    cosine: float
    method: str
    original: Floats
    reconstruction: Floats


def choose_method(module: nn.Module, input_shape: Sequence[int]) -> Method:
    """Return ``analytic`` for a model whose first layer is a dense one with a bias over the whole input."""
    return "analytic" if _first_dense(module, input_shape) is not None else "optimized"


def invert_update(
    module: nn.Module,
    update: Mapping[str, NDArray[Any]],
    input_shape: Sequence[int],
    num_examples: int = 1,
    labels: Sequence[int] | None = None,
    *,
    rng: np.random.Generator,
    method: Method | None = None,
    input_range: tuple[float, float] | None = (0.0, 1.0),
    steps: int = 600,
    total_variation: float = 1e-2,
    loss: Loss = functional.cross_entropy,
) -> Floats:
    """Return a reconstruction ``[num_examples, *input_shape]`` of the examples behind an update.

    The update is taken as a negative multiple of the gradient, which it is after one step of SGD and near to after a
    few; the multiple need not be known.

    ``analytic``: a row of the first dense layer's gradient is the input times that row's bias gradient (Phong et al.,
    *Privacy-preserving deep learning via additively homomorphic encryption*, 2018). One example is fitted to all rows
    at once, over the entries that are not 0: what a codec has dropped is no evidence. Of several examples each row
    holds another mixture, and those that differ most are returned, beginning with the largest bias gradient.

    ``optimized``: inputs are searched whose gradient has the direction of the update's, with total variation as a
    penalty where they are pictures ``[..., h, w]``, by Adam on the signs of gradients (Geiping et al., *Inverting
    gradients: how easy is it to break privacy in federated learning?*, 2020).

    Args:
        module: the model before the update; it is not changed. Used in eval mode.
        update: after minus before, as the attacker has it: decoded from the wire.
        input_shape: of one example.
        num_examples: how many the attacker takes the update to hold.
        labels: their classes, for ``optimized``; None to read them off the last layer's bias, if all differ.
        rng: draws where the search starts; may be seeded.
        method: None for ``choose_method``.
        input_range: that inputs are publicly known to lie in; the reconstruction is clipped to it. None for no limits.
        steps: of the search.
        total_variation: weight of the penalty.
        loss: ``loss(outputs, labels)`` that the client is known to minimise; may return a value an example.

    Raises:
        ValueError: for a value out of range, missing arrays, or a method that does not suit the model.
    """
    if num_examples < 1 or steps < 1:
        raise ValueError(f"num_examples and steps must be at least 1, got {num_examples} and {steps}")
    shape = tuple(input_shape)
    method = method or choose_method(module, shape)
    gradient = {name: -np.asarray(values, dtype=np.float64) for name, values in update.items()}
    if method == "analytic":
        weight, bias = _dense_gradient(module, gradient, shape)
        rows = _one(weight, bias)[None] if num_examples == 1 else _several(weight, bias, num_examples, input_range)
        found = rows.reshape(num_examples, *shape)
    else:
        start = torch.from_numpy(rng.standard_normal((num_examples, *shape), dtype=np.float32))
        classes = _classes(module, gradient, num_examples, labels)
        objective = _Objective(module, gradient, classes, loss, total_variation)
        found = _search(objective, _clip(start, input_range), steps, input_range)
    return found if input_range is None else found.clip(*input_range)


def score_reconstruction(
    original: NDArray[Any],
    reconstruction: NDArray[Any],
    method: str = "",
    input_range: tuple[float, float] | None = (0.0, 1.0),
) -> InversionReport:
    """Compare examples ``[n, ...]`` with a reconstruction in any order: pairs are matched for the least squared error.

    Without an ``input_range`` (features) the range of the original's values is used.

    Raises:
        ValueError: for unequal shapes, or values that are not finite.
    """
    true, found = np.asarray(original, np.float64), np.asarray(reconstruction, np.float64)
    if true.shape != found.shape or true.ndim < 2 or not true.size:
        raise ValueError(f"both must be [n, ...] of one shape, got {list(true.shape)} and {list(found.shape)}")
    if not (np.isfinite(true).all() and np.isfinite(found).all()):
        raise ValueError("original and reconstruction must be finite, got NaN or infinity")
    flat, other = true.reshape(len(true), -1), found.reshape(len(true), -1)
    distances = np.stack([((flat - row) ** 2).sum(axis=1) for row in other], axis=1)
    found = found[linear_sum_assignment(distances)[1]]
    width = input_range[1] - input_range[0] if input_range else float(np.ptp(true)) or 1.0
    pairs = list(zip(true, found, strict=True))
    picture = true.ndim >= 3 and min(true.shape[-2:]) >= SMALLEST_SIDE
    return InversionReport(
        psnr=float(np.mean([psnr(one, two, width) for one, two in pairs])),
        ssim=float(np.mean([ssim(one, two, width) for one, two in pairs])) if picture else None,
        cosine=float(np.mean([_cosine(one, two) for one, two in pairs])),
        method=method,
        original=true,
        reconstruction=found,
    )


def _first_dense(module: nn.Module, input_shape: Sequence[int]) -> str | None:
    """Return the name of the first layer with parameters, if it is dense over the whole input and has a bias."""
    for name, layer in module.named_modules():
        if any(True for _ in layer.parameters(recurse=False)):
            fits = isinstance(layer, nn.Linear) and layer.in_features == math.prod(input_shape)
            return name if fits and layer.bias is not None else None
    return None


def _dense_gradient(
    module: nn.Module, gradient: Mapping[str, Floats], input_shape: Sequence[int]
) -> tuple[Floats, Floats]:
    name = _first_dense(module, input_shape)
    if name is None:
        raise ValueError("method must be 'optimized' for a model that does not begin with a dense layer with a bias")
    prefix = f"{name}." if name else ""
    return _array(gradient, f"{prefix}weight"), _array(gradient, f"{prefix}bias")


def _array(gradient: Mapping[str, Floats], name: str) -> Floats:
    if name not in gradient:
        raise ValueError(f"update must hold {name!r}, got {sorted(gradient)}")
    return gradient[name]


def _one(weight: Floats, bias: Floats) -> Floats:
    """Fit ``outer(deltas, [x, 1])`` to the entries of ``[weight, bias]`` that are not 0, by alternating least squares.

    Without dropped entries this is the nearest matrix of rank one; with noise it averages over rows, which the largest
    row alone does not.
    """
    table = np.concatenate([weight, bias[:, None]], axis=1)
    known = (table != 0).astype(np.float64)
    side = np.concatenate([np.zeros(weight.shape[1]), [1.0]]) if bias.any() else np.ones(len(table[0]))
    for _ in range(_ALTERNATIONS):
        deltas = (table @ side) / np.maximum(known @ side**2, _SMALL)
        side = (deltas @ table) / np.maximum(deltas**2 @ known, _SMALL)
        side = side / (np.linalg.norm(side) or 1.0)
    last = side[-1] if abs(side[-1]) > 1e-9 else math.inf  # without its bias only a direction is known
    return np.asarray(side[:-1] / last)


def _several(weight: Floats, bias: Floats, count: int, input_range: tuple[float, float] | None) -> Floats:
    """Return the rows' quotients that differ most, of those with a bias gradient that is not lost in the rest.

    A row that one example alone has moved gives that example. Any other quotient is a mixture, with weights that may be
    negative; what it holds beyond the input range is clipped before rows are compared.
    """
    used = np.flatnonzero(np.abs(bias) > 1e-3 * np.abs(bias).max(initial=0.0))
    if len(used) < count:
        raise ValueError(f"num_examples must be at most the {len(used)} rows with a bias gradient, got {count}")
    used = used[np.argsort(-np.abs(bias[used]))]
    quotients = weight[used] / bias[used, None]
    quotients = quotients if input_range is None else quotients.clip(*input_range)
    chosen, distance = [0], np.full(len(used), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, ((quotients - quotients[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    return np.asarray(quotients[chosen])


def _classes(
    module: nn.Module, gradient: Mapping[str, Floats], count: int, labels: Sequence[int] | None
) -> torch.Tensor:
    classes = torch.tensor(_read_labels(module, gradient, count) if labels is None else labels)
    if classes.shape != (count,):
        raise ValueError(f"labels must be one for each of {count} examples, got {list(classes.shape)}")
    return classes


def _read_labels(module: nn.Module, gradient: Mapping[str, Floats], count: int) -> list[int]:
    """Return the classes with the least bias gradient in the last dense layer: an example's own is the only negative.

    Zhao, Mopuri and Bilen, *iDLG: improved deep leakage from gradients* (2020).
    """
    dense = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear) and layer.bias is not None]
    if not dense:
        raise ValueError("labels must be given for a model without a dense layer that has a bias, got None")
    bias = _array(gradient, f"{dense[-1]}.bias" if dense[-1] else "bias")
    return [int(label) for label in np.resize(np.argsort(bias)[: max(1, count)], count)]


class _Objective:
    """The distance in direction between a candidate's gradient and the update's, and the penalty for rough pictures."""

    def __init__(
        self, module: nn.Module, gradient: Mapping[str, Floats], labels: torch.Tensor, loss: Loss, weight: float
    ) -> None:
        self._module = copy.deepcopy(module).eval()
        self._labels, self._loss, self._weight = labels, loss, weight
        named = [(name, each) for name, each in self._module.named_parameters() if each.requires_grad]
        self._parameters = [each for _, each in named]
        self._wanted = [torch.from_numpy(_array(gradient, name)).to(each.dtype) for name, each in named]
        self._norm = torch.sqrt(sum((each**2).sum() for each in self._wanted) + torch.tensor(_SMALL))

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        losses = self._loss(self._module(inputs), self._labels).mean()
        found = torch.autograd.grad(losses, self._parameters, create_graph=True, materialize_grads=True)
        product = sum(((one * two).sum() for one, two in zip(found, self._wanted, strict=True)), torch.tensor(0.0))
        norm = torch.sqrt(sum(((each**2).sum() for each in found), torch.tensor(_SMALL)))
        return 1 - product / (norm * self._norm) + self._weight * _roughness(inputs)


def _roughness(inputs: torch.Tensor) -> torch.Tensor:
    if inputs.dim() < 3:
        return torch.tensor(0.0)
    return inputs.diff(dim=-1).abs().mean() + inputs.diff(dim=-2).abs().mean()


def _search(objective: _Objective, start: torch.Tensor, steps: int, input_range: tuple[float, float] | None) -> Floats:
    """Descend by Adam on signs, with the paper's step length, cut to a tenth after 3/8, 5/8 and 7/8 of the steps."""
    inputs = start.clone().requires_grad_(True)
    adam = torch.optim.Adam([inputs], lr=0.1)
    cuts = [int(steps * share) for share in (3 / 8, 5 / 8, 7 / 8)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(adam, cuts, gamma=0.1)
    for _ in range(steps):
        (slope,) = torch.autograd.grad(objective(inputs), [inputs])
        inputs.grad = slope.sign()
        adam.step()
        schedule.step()
        with torch.no_grad():
            inputs.copy_(_clip(inputs, input_range))
    return np.asarray(inputs.detach().double().numpy())


def _clip(inputs: torch.Tensor, input_range: tuple[float, float] | None) -> torch.Tensor:
    return inputs if input_range is None else inputs.clamp(*input_range)


def _cosine(one: Floats, two: Floats) -> float:
    return float((one * two).sum() / max(float(np.linalg.norm(one) * np.linalg.norm(two)), _SMALL))
