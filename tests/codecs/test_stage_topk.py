"""Top-k keeps the k largest magnitudes. Conformance row 12: no abs(), or the mean over all coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import codec_suite as suite
from fedcomp.codecs import codec_from_config
from fedcomp.codecs.stages.topk import largest, num_kept

VALUES = np.random.default_rng(0).standard_normal(1000).astype(np.float32)


def keeps_the_largest(decoded: np.ndarray, values: np.ndarray, kept: int) -> bool:
    """The check of row 12: the right support, and the right mean magnitude on it."""
    magnitudes = np.sort(np.abs(values))[::-1][:kept]
    found = np.sort(np.abs(decoded[decoded != 0]))[::-1]
    return found.size == kept and np.isclose(found.mean(), magnitudes.mean(), rtol=0.05)


def test_the_largest_magnitudes_are_kept_exactly() -> None:
    codec = codec_from_config([{"id": "topk", "density": 0.1}])
    decoded = codec.decode(suite.encode(codec, {"x": VALUES}))["x"]
    border = np.sort(np.abs(VALUES))[-100]
    assert np.array_equal(decoded, np.where(np.abs(VALUES) >= border, VALUES, 0))
    assert keeps_the_largest(decoded, VALUES, 100)


@pytest.mark.parametrize("quantizer", [{"id": "uniform", "bit_width": 8}, {"id": "dither", "step_rms": 0.05}])
def test_the_mean_magnitude_survives_quantization(quantizer: dict[str, object]) -> None:
    codec = codec_from_config([{"id": "topk", "density": 0.1}, quantizer, {"id": "rans"}])
    assert keeps_the_largest(codec.decode(suite.encode(codec, {"x": VALUES}))["x"], VALUES, 100)


def test_the_check_finds_the_wrong_variants() -> None:
    without_abs = np.where(largest(VALUES, 100), VALUES, 0)
    assert not keeps_the_largest(without_abs, VALUES, 100)
    mask = np.abs(VALUES) >= np.sort(np.abs(VALUES))[-100]
    mean_over_all = np.where(mask, np.sign(VALUES) * np.abs(VALUES[mask]).sum() / VALUES.size, 0)
    assert not keeps_the_largest(mean_over_all, VALUES, 100)


def test_the_choice_is_global_over_arrays() -> None:
    codec = codec_from_config([{"id": "topk", "density": 0.5}])
    decoded = codec.decode(suite.encode(codec, {"small": np.full(4, 0.1), "large": np.full(4, -9.0)}))
    assert not decoded["small"].any()
    assert (decoded["large"] == -9).all()


def test_ties_go_to_the_first() -> None:
    assert np.flatnonzero(largest(np.array([1, 2, 1, 1, 2, 1]), 4)).tolist() == [0, 1, 2, 4]
    assert largest(np.zeros(5), 2).tolist() == [True, True, False, False, False]
    assert largest(np.arange(3), 0).tolist() == [False] * 3


@given(size=st.integers(0, 10_000), density=st.floats(1e-6, 1))
def test_how_many_are_kept(size: int, density: float) -> None:
    kept = num_kept(size, density)
    assert kept == (max(1, round(density * size)) if size else 0)
    assert 0 <= kept <= size


@settings(max_examples=40, deadline=None)
@given(keys=st.lists(st.integers(0, 5), min_size=1, max_size=40), share=st.floats(0, 1))
def test_largest_is_a_stable_sort(keys: list[int], share: float) -> None:
    count = int(share * len(keys))
    expected = sorted(range(len(keys)), key=lambda index: (-keys[index], index))[:count]
    assert np.flatnonzero(largest(np.array(keys), count)).tolist() == sorted(expected)
