import sys

import numpy as np
import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.sources.audio import SAMPLE_RATE, log_mel, read_sound

TIME = np.arange(int(0.5 * SAMPLE_RATE)) / SAMPLE_RATE


def tone(hertz, rate=SAMPLE_RATE, seconds=0.5):
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def loudest_band(spectrogram):
    return int(spectrogram[5:40].mean(axis=0).argmax())


def test_higher_tones_are_in_higher_bands():
    bands = [loudest_band(log_mel(tone(hertz))) for hertz in (200, 800, 2000, 6000)]
    assert bands == sorted(set(bands))
    assert all(np.diff(bands) > 4)


def test_a_tone_of_the_middle_of_the_mel_scale_is_in_the_middle_band():
    # (mel(20 Hz) + mel(8 kHz)) / 2 is 1,436 mel, which is 1,803 Hz
    assert loudest_band(log_mel(tone(1803))) in (19, 20)


def test_values_are_decibels_below_the_loudest_so_that_loudness_does_not_matter():
    quiet, loud = log_mel(0.01 * tone(440)), log_mel(3 * tone(440))
    np.testing.assert_allclose(quiet, loud, atol=1e-4)
    assert loud.max() == 1
    assert loud.min() == -1
    assert loud.dtype == np.float32


def test_half_the_amplitude_is_6_decibels_less():
    sound = np.concatenate([tone(1000, seconds=0.3), tone(1000, seconds=0.3) / 2])
    spectrogram = log_mel(sound)
    band = loudest_band(spectrogram)
    assert 40 * (spectrogram[10, band] - spectrogram[50, band]) == pytest.approx(20 * np.log10(2), abs=0.05)


def test_what_is_short_is_followed_by_silence_and_what_is_long_is_cut():
    short = log_mel(tone(440, seconds=0.2))
    assert short.shape == (64, 40)
    assert (short[25:] == -1).all()
    assert short[18].max() > 0.9
    assert log_mel(tone(440, seconds=3)).shape == (64, 40)


def test_silence_is_the_floor_everywhere():
    assert (log_mel(np.zeros(3000)) == -1).all()
    assert (log_mel(np.zeros(0)) == -1).all()


def test_files_are_resampled_and_their_channels_averaged(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    left, path = tone(440, 44_100), tmp_path / "tone.wav"
    soundfile.write(path, np.stack([left, np.zeros_like(left)], axis=1), 44_100)
    sound = read_sound(path)
    assert len(sound) == len(TIME)
    np.testing.assert_allclose(sound[200:-200], tone(440)[200:-200] / 2, atol=2e-3)


def test_a_file_that_is_no_sound_or_has_none_is_refused_by_name(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    (tmp_path / "noise.ogg").write_bytes(b"no sound at all")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    with pytest.raises(DataError, match=r"noise\.ogg: expected a sound file, got"):
        read_sound(tmp_path / "noise.ogg")
    with pytest.raises(DataError, match=r"empty\.wav: expected a sound file with samples, got none"):
        read_sound(tmp_path / "empty.wav")


def test_a_missing_reader_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DataError, match=r"pip install 'fedcomp\[speech\]'"):
        read_sound(tmp_path / "any.ogg")
