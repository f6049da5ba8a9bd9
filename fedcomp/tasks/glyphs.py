"""Characters of 464 typefaces: which of 62 letters and digits, where a client is a typeface.

The layout is that of handwriting by many writers (FEMNIST: S. Caldas et al., *LEAF: A Benchmark for Federated
Settings*, 2018), the data is not: these are drawn typefaces, many of them playful, each with one picture a character.
Where a typeface draws small letters as capitals, nothing tells the two apart, and nobody can reach 100 %.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedcomp.rng import stream
from fedcomp.tasks.base import Split, Task
from fedcomp.tasks.models.resnet import resnet
from fedcomp.tasks.sources.typefaces import CHARACTERS, GLYPH_SIZE, typeface_files, typeface_glyphs

_TEST_TYPEFACES = 80


class Typefaces(Task):
    """Pictures ``[1, 28, 28]`` in [-1, 1]: 23,808 of 384 typefaces for training, 4,960 of 80 others for the test.

    The natural client of a row is its typeface: 62 rows, one for each class. Pixels are rendered on this machine, so
    that another FreeType may give a slightly different data set, with another ``dataset_id``.

    Raises:
        DataError: if the typefaces are nowhere on this machine (and, with ``download``, cannot be fetched either).
    """

    name = "typefaces"
    num_classes = len(CHARACTERS)

    def __init__(self, download: bool = False) -> None:
        self._files = typeface_files(download)

    def network(self) -> nn.Module:
        """Return a residual CNN."""
        return resnet(1, self.num_classes, widths=(32, 64, 128), stem_stride=2)

    def student_network(self) -> nn.Module:
        """Return a narrower and shallower residual CNN."""
        return resnet(1, self.num_classes, widths=(16, 32, 64), blocks=1, stem_stride=2)

    def train(self) -> Split:
        """Return the training rows, typeface by typeface; the first call on a machine draws and keeps all."""
        return self._split(self._order[_TEST_TYPEFACES:])

    def test(self) -> Split:
        """Return the test rows: typefaces that no training row shows."""
        return self._split(self._order[:_TEST_TYPEFACES])

    def groups(self) -> NDArray[np.int64]:
        """Return the typeface of each training row."""
        return np.repeat(np.sort(self._order[_TEST_TYPEFACES:]), self.num_classes)

    @cached_property
    def _glyphs(self) -> NDArray[np.float16]:
        return typeface_glyphs(self._files)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return stream(0, self.name, "split").permutation(len(self._glyphs)).astype(np.int64)

    def _split(self, typefaces: NDArray[np.int64]) -> Split:
        inputs = self._glyphs[np.sort(typefaces)].reshape(-1, 1, GLYPH_SIZE, GLYPH_SIZE)
        return Split(inputs, np.tile(np.arange(self.num_classes), len(typefaces)), inputs)
