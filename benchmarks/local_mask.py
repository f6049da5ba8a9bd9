"""A mask that moves: each round all clients train the same few columns of a head, drawn anew from the released model.

The released model is public, so the mask is: it costs neither privacy nor bytes, and the same client code finds it in
training (the gradient has nothing outside of it when it is clipped) and in coding (only values under it travel).
What noise DP-SGD puts on the other columns never leaves the client.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from fedcomp.arrays import Array
from fedcomp.codecs.options import number
from fedcomp.codecs.public import public_words
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.reference import FINGERPRINT, check_fingerprint, fingerprint, require_reference
from fedcomp.codecs.registry import STAGES
from fedcomp.codecs.stage import Form, Packet, Spec, Stage
from fedcomp.codecs.stages.topk import largest, num_kept, scatter

_DOMAIN = 1001


class MovingHead(nn.Module):
    """A linear layer ``[n, columns]`` to ``[n, outputs]`` without bias that trains the columns under the moving mask.

    Its outputs are those of the whole layer; the columns outside of the mask are constants to the gradient. Right for
    one step a round: after a step the weights, and with them the mask, are others.
    """

    def __init__(self, columns: int, outputs: int, density: float) -> None:
        super().__init__()
        self.head = nn.Linear(columns, outputs, bias=False)
        nn.init.zeros_(self.head.weight)
        self.density = density

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs."""
        if not self.training:
            return self.head(inputs)  # type: ignore[no-any-return]
        weight = self.head.weight.detach()
        mask = moving_columns(weight.numpy().reshape(-1), weight.shape[1], self.density)
        columns = torch.from_numpy(mask).to(inputs.dtype)
        return self.head(inputs * columns) + functional.linear(inputs, weight * (1 - columns))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class MovingColumns(Stage):
    """Keeps the share density of the columns of the one matrix there is, chosen by a hash of the reference."""

    density: float = number(0.25, 0, 1, open_low=True)
    id: ClassVar[str] = "moving-columns"
    data_dependent = False
    biased = True
    needs_reference = True
    linear = True
    bound: ClassVar[str] = "the largest magnitude"

    def form(self, form: Form) -> Form:
        """Return the form with fewer values and one more fingerprint."""
        form.require_whole()
        rows, columns = _matrix(form.shapes)
        return Form(Spec(np.dtype(np.float32), rows * num_kept(columns, self.density)), (*form.streams, FINGERPRINT))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Keep the columns that the reference chooses."""
        reference = require_reference(packet)
        return Packet(packet.values[self._mask(packet)], (*packet.streams, fingerprint(reference)))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Choose the same columns again and put the values there."""
        check_fingerprint(packet.streams[-1], require_reference(packet))
        return Packet(scatter(packet.values, self._mask(packet)), packet.streams[:-1])

    def max_error(self, values: Array) -> float | None:
        """Return the largest magnitude: any column may be left out."""
        return 0.0 if self.density == 1 else peak_of(values)

    def _mask(self, packet: Packet) -> NDArray[np.bool_]:
        rows, columns = _matrix(packet.shapes)
        return np.tile(moving_columns(require_reference(packet), columns, self.density), rows)


def moving_columns(released: Array, columns: int, density: float) -> NDArray[np.bool_]:
    """Return which of ``columns`` columns are trained from a released model, given as one vector of its values."""
    seed = int(fingerprint(released)[0])
    return largest(public_words(seed, _DOMAIN, columns), num_kept(columns, density))


def register() -> None:
    """Let configs name the stage, in this process."""
    STAGES[MovingColumns.id] = MovingColumns


def _matrix(shapes: tuple[tuple[int, ...], ...]) -> tuple[int, int]:
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ValueError(f"expected one matrix, got arrays of the shapes {list(shapes)}")
    return shapes[0][0], shapes[0][1]
