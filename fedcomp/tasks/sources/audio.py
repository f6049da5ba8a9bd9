"""Sound files as log-mel spectrograms of one shape."""

import math
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import DataError

SAMPLE_RATE = 16_000
FRAMES = 64
BANDS = 40

_HOP = 160  # 10 ms: the 64 frames are 0.64 s
_WINDOW = 400  # 25 ms
_SPECTRUM = 512
_LOWEST, _HIGHEST = 20.0, 8000.0  # Hz
_FLOOR = -80.0  # decibels below the loudest place


def read_sound(path: Path) -> NDArray[np.float64]:
    """Return the sound in a file (ogg, wav, flac), channels averaged, at 16 kHz, as float64 ``[samples]``.

    Raises:
        DataError: if it cannot be read, naming the file, or if ``soundfile`` is not installed, with the command.
    """
    try:
        import soundfile
    except ImportError as error:
        raise DataError("reading sound needs soundfile; run `pip install 'fedcomp[speech]'`") from error
    from scipy.signal import resample_poly  # slow to import

    try:
        sound, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (OSError, RuntimeError) as error:  # libsndfile's errors are RuntimeErrors
        raise DataError(f"{path}: expected a sound file, got: {error}") from error
    if not len(sound):
        raise DataError(f"{path}: expected a sound file with samples, got none")
    common = math.gcd(rate, SAMPLE_RATE)
    resampled: NDArray[np.float64] = resample_poly(sound.mean(axis=1), SAMPLE_RATE // common, rate // common)
    return resampled


def log_mel(sound: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the log-mel spectrogram ``[64, 40]`` in [-1, 1] of ``sound [samples]`` at 16 kHz.

    Frames are 10 ms apart; what is longer than 0.64 s is cut, what is shorter is followed by silence. Values are
    decibels below the loudest place of this very recording, from 0 (1) to -80 (-1), so that no constant comes from the
    data. Silence is -1 everywhere.
    """
    padded = np.zeros(_HOP * (FRAMES - 1) + _WINDOW)
    kept = sound[: len(padded) - _WINDOW // 2]
    padded[_WINDOW // 2 : _WINDOW // 2 + len(kept)] = kept
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(frames, _SPECTRUM)) ** 2 @ _filters()
    loudest = power.max()
    if loudest <= 0:
        return np.full((FRAMES, BANDS), -1.0, dtype=np.float32)
    decibels = 10 * np.log10(np.maximum(power / loudest, 10 ** (_FLOOR / 10)))
    return np.asarray(1 - 2 * decibels / _FLOOR, dtype=np.float32)


@cache
def _filters() -> NDArray[np.float64]:
    """Return triangles ``[257, 40]`` whose corners are evenly spaced on the mel scale (2595 log10(1 + f / 700))."""
    low, high = (2595 * math.log10(1 + end / 700) for end in (_LOWEST, _HIGHEST))
    corners = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_SPECTRUM, 1 / SAMPLE_RATE)[:, None]
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    filters: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return filters
