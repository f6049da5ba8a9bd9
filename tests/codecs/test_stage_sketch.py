"""The count sketch: linear, unbiased, and good at finding few large values."""

import struct

import numpy as np
import pytest
from slow_decoder import philox_words

from contracts import codec_suite as suite
from fedcomp.codecs import codec_from_config
from fedcomp.codecs.stage import Form, Packet, Spec
from fedcomp.codecs.stages.sketch import Sketch

RNG = np.random.default_rng(8)
FORM = Form(Spec(np.dtype(np.float32), 500))


def sketched(stage: Sketch, values: np.ndarray) -> Packet:
    return stage.forward(Packet(values.astype(np.float32)), np.random.default_rng(5))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_sketches_of_one_seed_add_up(rows: int) -> None:
    stage = Sketch(0.2, rows, "mean")
    left, right = RNG.standard_normal((2, 500))
    sums, both = sketched(stage, left).values + sketched(stage, right).values, sketched(stage, left + right)
    np.testing.assert_allclose(sums, both.values, atol=1e-5)
    decoded = [stage.inverse(sketched(stage, values), FORM).values for values in (left, right, left + right)]
    np.testing.assert_allclose(decoded[0] + decoded[1], decoded[2], atol=1e-5)


def test_the_squared_norm_of_a_row_is_that_of_the_values_on_average() -> None:
    values = RNG.standard_normal(500).astype(np.float32)
    stage = Sketch(0.2, 1)
    norms = [
        np.square(stage.forward(Packet(values), np.random.default_rng(seed)).values).sum() / np.square(values).sum()
        for seed in range(400)
    ]
    # With 100 cells the relative variance is nearly 2 / 100, so a standard error is 0.007; 0.05 is seven of them.
    assert np.mean(norms) == pytest.approx(1, abs=0.05)
    assert np.max(norms) > 1.15  # and so it has to be clipped again


@pytest.mark.parametrize(("rows", "estimate"), [(1, "median"), (3, "median"), (4, "median"), (4, "mean")])
def test_estimates_are_unbiased(rows: int, estimate: str) -> None:
    """The values are of very different size, and the mean over seeds finds them all: six standard errors each."""
    values = (RNG.standard_normal(200) * np.logspace(-1, 1, 200)).astype(np.float32)
    codec = codec_from_config([{"id": "sketch", "density": 0.5, "rows": rows, "estimate": estimate}])
    decoded = np.stack([codec.decode(suite.encode(codec, {"x": values}, seed))["x"] for seed in range(400)])
    errors = (decoded.astype(np.float64).mean(axis=0) - values) / (decoded.std(axis=0, ddof=1) / 20)
    assert np.abs(errors).max() < 6


def test_few_large_values_are_found_among_many_small_ones() -> None:
    values = 0.01 * RNG.standard_normal(20_000)
    places = RNG.choice(20_000, 20, replace=False)
    values[places] = RNG.choice([-1, 1], 20) * RNG.uniform(1, 2, 20)
    codec = codec_from_config([{"id": "sketch", "density": 0.25, "rows": 9, "top_density": 0.001}])
    payload = suite.encode(codec, {"x": values.astype(np.float32)})
    decoded = codec.decode(payload)["x"]
    assert set(np.flatnonzero(decoded)) == set(places)
    assert np.abs(decoded - values)[places].max() < 0.2
    assert len(payload) < 4 * 20_000 * 0.25 + 100


def test_the_table_does_not_look_at_the_values() -> None:
    codec = codec_from_config([{"id": "sketch", "density": 0.1}])
    values = RNG.standard_normal((2, 300)).astype(np.float32)
    lengths = {len(suite.encode(codec, {"x": row})) for row in (*values, values[0] * 0)}
    assert len(lengths) == 1


@pytest.mark.parametrize(("size", "places"), [(10, range(10)), (32_768 + 5, [0, 32_767, 32_768, 32_772])])
def test_decoding_follows_the_written_format(size: int, places: range) -> None:
    density = 6 / size
    codec = codec_from_config([{"id": "sketch", "density": density, "rows": 3}])
    values = np.zeros(size, dtype=np.float32)
    values[list(places)] = RNG.standard_normal(len(places))
    payload = suite.encode(codec, {"x": values})
    seed, *cells = struct.unpack("<Q6f", payload[-4 - 24 - 8 : -4])
    decoded = codec.decode(payload)["x"]
    for place in places:
        chunk, inside = divmod(place, 2**15)
        found = []
        for row in range(3):
            word = philox_words(seed, 5 + 256 * (row + 16 * chunk), inside + 1)[inside]
            cell = cells[2 * row + ((word >> 1) * 2 >> 31)]
            found.append(-cell if word & 1 else cell)
        assert decoded[place] == sorted(found)[1]
