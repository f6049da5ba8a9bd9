"""Lung nodules: does a radiologist think that this outline is of something malignant?"""

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fedcomp.rng import stream
from fedcomp.tasks.base import Split, Task
from fedcomp.tasks.features import cached_features
from fedcomp.tasks.models.resnet import resnet
from fedcomp.tasks.ranking import margin_auc
from fedcomp.tasks.sources.lung_outlines import OUTLINE_SIZE, draw_reading, lung_readings

_PICTURES = "lung-outlines-32-v1"  # the name of the cache: it must change when the drawing does
_UNDECIDED = 3
_TEST_SHARE = 0.25
_NUMBERS_OF_A_SITE = 102  # of patients, 1 to 1012: ten sites


class LungNodules(Task):
    """Pictures ``[1, 32, 32]`` in [-1, 1] of a nodule's outline, a millimetre a pixel; class 1 is a malignant look.

    There are no CT pixels here: the package has outlines alone, and the scans need a licence and a download. Targets
    are a radiologist's impression (1 and 2 against 4 and 5, the undecided 3 left out), not a diagnosis. It is medical
    data in its layout, sizes and patients; it is no evidence about cancer.

    4,253 readings of 828 patients; a quarter of the patients is held out for the test with all of their readings. A row
    is one reading. A patient has several, up to 35, so that privacy of examples protects a reading and not a patient.

    Natural clients are ten sites of patients with consecutive numbers: a made partition, because the archive does not
    tell which hospital a patient was seen in.

    Raises:
        DataError: if the outlines are nowhere on this machine (and, with ``download``, cannot be fetched either).
    """

    name = "medical-nodules"
    num_classes = 2

    def __init__(self, download: bool = False) -> None:
        readings = lung_readings(download)
        self._readings = tuple(each for each in readings if each.malignancy != _UNDECIDED)

    def network(self) -> nn.Module:
        """Return a residual CNN."""
        return resnet(1, self.num_classes, widths=(32, 64, 128), stem_stride=2)

    def student_network(self) -> nn.Module:
        """Return a residual CNN of half the widths and half the blocks."""
        return resnet(1, self.num_classes, widths=(16, 32, 64), blocks=1, stem_stride=2)

    def train(self) -> Split:
        """Return the training rows; the first call on a machine draws and keeps all pictures."""
        return self._split(~self._held_out)

    def test(self) -> Split:
        """Return the test rows, of patients who have no training row."""
        return self._split(self._held_out)

    def groups(self) -> NDArray[np.int64]:
        """Return the site of each training row, 0 to 9."""
        return ((self._patients - 1) // _NUMBERS_OF_A_SITE)[~self._held_out]

    def auc(self, outputs: Tensor, targets: Tensor) -> float:
        """Return how well logits ``[n, 2]`` rank malignant rows above others; see ``roc_auc``."""
        return margin_auc(outputs, targets)

    @cached_property
    def _patients(self) -> NDArray[np.int64]:
        return np.array([each.patient for each in self._readings], dtype=np.int64)

    @cached_property
    def _held_out(self) -> NDArray[np.bool_]:
        patients = np.unique(self._patients)
        drawn = stream(0, self.name, "split").permutation(patients)[: round(_TEST_SHARE * len(patients))]
        return np.isin(self._patients, drawn)

    @cached_property
    def _pictures(self) -> NDArray[np.float16]:
        """All pictures, from the user's cache after the first time; it knows readings by their outlines."""
        contents = [
            hashlib.sha256(b"|".join(part.tobytes() for part in (*each.outlines, np.array([]), *each.holes))).digest()
            for each in self._readings
        ]
        keys = np.frombuffer(b"".join(contents), dtype=np.uint8).reshape(len(contents), -1)

        def draw_all(_: NDArray[Any]) -> NDArray[np.float16]:
            return np.array([draw_reading(each).ravel() for each in self._readings], dtype=np.float16)

        return cached_features(_PICTURES, keys, draw_all, OUTLINE_SIZE**2).reshape(-1, 1, OUTLINE_SIZE, OUTLINE_SIZE)

    def _split(self, rows: NDArray[np.bool_]) -> Split:
        targets = np.array([each.malignancy > _UNDECIDED for each in self._readings], dtype=np.int64)
        inputs = self._pictures[rows]
        return Split(inputs, targets[rows], inputs)
