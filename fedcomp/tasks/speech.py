"""Spoken Mandarin syllables: which of 4 tones, or which of 22 initials, from log-mel spectrograms.

2,334 recordings of isolated syllables by two voices. It is real speech and little of it: a test of how small models
keep what a larger one heard, not of speech recognition.
"""

import hashlib
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedcomp.rng import stream
from fedcomp.tasks.base import Split, Task, rows_digest
from fedcomp.tasks.features import cached_features
from fedcomp.tasks.models.conv_gru import conv_gru
from fedcomp.tasks.models.ds_cnn import ds_cnn
from fedcomp.tasks.sources.audio import BANDS, FRAMES, log_mel, read_sound
from fedcomp.tasks.sources.gcin_voice import INITIALS, Recording, gcin_recordings

_FEATURES = "log-mel-64x40-v1"  # the name of the cache: it must change when the transform does
_TEST_SHARE = 0.25


class Speech(Task):
    """Spectrograms ``[1, 64, 40]`` in [-1, 1] of a quarter of the syllables for the test and of the rest for training.

    Syllables are held out with all of their tones and both voices, so that nobody is tested on what was heard.

    The natural clients are the two voices. More clients are a made partition: a Dirichlet one over initials gives each
    another mixture of consonants, but they are not more people.

    With ``model="ds-cnn"`` the model is a depthwise separable CNN; with ``model="gru"`` a bidirectional GRU, which no
    mode that protects examples accepts (see ``fedcomp.tasks.models.conv_gru``); with ``model="linear"`` one linear
    layer over means of 2x2 places, which is what differential privacy of so few examples can afford. The student of
    the last is the DS-CNN's.

    Raises:
        DataError: if the recordings are nowhere on this machine (and, with ``download``, cannot be fetched either);
            on first use of the rows, if one cannot be read.
    """

    def __init__(
        self, target: Literal["initial", "tone"], model: Literal["ds-cnn", "gru", "linear"], download: bool = False
    ) -> None:
        self.name = f"speech-{target}s-{model}"
        self.num_classes = 4 if target == "tone" else len(INITIALS) + 1
        self._target = target
        self._model = model
        self._recordings = gcin_recordings(download)

    def network(self) -> nn.Module:
        """Return the model that is federated."""
        if self._model == "linear":
            return _linear(self.num_classes)
        return ds_cnn(self.num_classes) if self._model == "ds-cnn" else conv_gru(BANDS, self.num_classes)

    def student_network(self) -> nn.Module:
        """Return a narrower and shallower model of the same kind, or a small DS-CNN for the linear one."""
        if self._model == "gru":
            return conv_gru(BANDS, self.num_classes, filters=16, hidden=96, layers=1)
        return ds_cnn(self.num_classes, width=64, blocks=3)

    def train(self) -> Split:
        """Return the training rows; the first call on a machine computes and keeps the spectrograms of all."""
        return self._split(~self._held_out)

    def test(self) -> Split:
        """Return the test rows, whose syllables have no training row."""
        return self._split(self._held_out)

    def groups(self) -> NDArray[np.int64]:
        """Return the voice of each training row, 0 or 1."""
        return np.array([each.speaker for each in self._recordings], dtype=np.int64)[~self._held_out]

    def dataset_id(self) -> str:
        """Return the digest of all recordings, the same for both targets: their privacy is spent together."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        return f"gcin-voice:{rows_digest(self._spectrograms, np.arange(len(self._recordings)))}"

    @cached_property
    def _held_out(self) -> NDArray[np.bool_]:
        sounds = sorted({each.sound for each in self._recordings})
        order = stream(0, "gcin-voice", "split").permutation(len(sounds))
        chosen = {sounds[number] for number in order[: round(_TEST_SHARE * len(sounds))]}
        return np.array([each.sound in chosen for each in self._recordings])

    @cached_property
    def _spectrograms(self) -> NDArray[np.float16]:
        return spectrograms(self._recordings)

    def _split(self, rows: NDArray[np.bool_]) -> Split:
        targets = np.array([getattr(each, self._target) for each in self._recordings], dtype=np.int64)
        inputs = self._spectrograms[rows]
        return Split(inputs, targets[rows], inputs)


def spectrograms(recordings: tuple[Recording, ...]) -> NDArray[np.float16]:
    """Return log-mel spectrograms ``[n, 1, 64, 40]`` as float16, from the user's cache after the first call.

    The cache knows recordings by what their files hold, not by where they lie.

    Raises:
        DataError: if a recording cannot be read, or the cache cannot be written.
    """
    contents = [hashlib.sha256(each.path.read_bytes()).digest() for each in recordings]
    keys = np.frombuffer(b"".join(contents), dtype=np.uint8).reshape(len(recordings), -1)

    def compute(_: NDArray[np.uint8]) -> NDArray[np.float16]:
        found = [log_mel(read_sound(each.path)).ravel() for each in recordings]
        return np.array(found, dtype=np.float16)

    return cached_features(_FEATURES, keys, compute, FRAMES * BANDS).reshape(-1, 1, FRAMES, BANDS)


def _linear(num_classes: int) -> nn.Module:
    head = nn.Linear(FRAMES * BANDS // 4, num_classes)
    nn.init.zeros_(head.weight)  # convex: random weights would only be noise that the first rounds have to undo
    nn.init.zeros_(head.bias)
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), head)
