"""What the quantizers promise beyond the contract."""

import numpy as np
import pytest
from slow_decoder import philox_words

from contracts import codec_suite as suite
from fedcomp.codecs import codec_from_config
from fedcomp.codecs.public import public_seed, public_words
from fedcomp.codecs.stages.dither import dither

VALUES = np.random.default_rng(2).standard_normal(20_000).astype(np.float32)


def decoded(config: list[dict[str, object]], seed: int = 3) -> np.ndarray:
    codec = codec_from_config(config)
    return codec.decode(suite.encode(codec, {"x": VALUES}, seed))["x"]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
def test_public_words_are_philox_on_every_platform(count: int) -> None:
    for seed in (0, 1, 2**64 - 1, 0x0123456789ABCDEF):
        for domain in (1, 2):
            assert public_words(seed, domain, count).tolist() == philox_words(seed, domain, count)


def test_public_seeds_use_all_64_bits() -> None:
    rng = np.random.default_rng(0)
    seeds = [public_seed(rng) for _ in range(64)]
    assert len(set(seeds)) == 64
    assert max(seeds) > 2**63
    assert np.bitwise_or.reduce(np.array(seeds, dtype=np.uint64)) == 2**64 - 1


def test_dither_is_uniform_and_exact() -> None:
    drawn = dither(5, 2**16).astype(np.float64)
    assert np.array_equal(drawn * 2**25 % 2, np.ones(2**16))
    assert np.abs(drawn).max() < 0.5
    # Standard errors of mean and variance are 0.0011 and 0.0003: six of them.
    assert abs(drawn.mean()) < 0.007
    assert abs(drawn.var() - 1 / 12) < 0.002


def relative_error(config: dict[str, object]) -> np.ndarray:
    return (decoded([config]) - VALUES) / np.sqrt(np.square(VALUES).mean()) / config["step_rms"]


def is_independent(error: np.ndarray) -> bool:
    """Correlation with the value and its square under six standard errors: one false alarm in 1e8."""
    return all(abs(np.corrcoef(error, VALUES**power)[0, 1]) < 6 / np.sqrt(VALUES.size) for power in (1, 2))


@pytest.mark.parametrize("step_rms", [0.5, 2.0, 4.0])
def test_dithered_error_is_uniform_and_independent_of_the_value(step_rms: float) -> None:
    error = relative_error({"id": "dither", "step_rms": step_rms})
    assert np.abs(error).max() <= 0.5 + 1e-5
    assert abs(error.var() - 1 / 12) < 6 * np.sqrt(1 / 180 / VALUES.size)
    assert is_independent(error)


def test_the_independence_check_finds_plain_rounding() -> None:
    assert not is_independent(relative_error({"id": "step", "step_rms": 4.0, "dead_zone": 0.5}))


def test_dither_differs_from_payload_to_payload() -> None:
    config = [{"id": "dither", "step_rms": 2.0}]
    left, right = decoded(config, 1) - VALUES, decoded(config, 2) - VALUES
    assert abs(np.corrcoef(left, right)[0, 1]) < 6 / np.sqrt(VALUES.size)


@pytest.mark.parametrize("bit_width", range(2, 9))
def test_uniform_has_its_levels_and_reaches_both_ends(bit_width: int) -> None:
    found = decoded([{"id": "uniform", "bit_width": bit_width}])
    assert len(np.unique(found)) <= 2**bit_width - 1
    assert np.isclose(np.abs(found).max(), np.abs(VALUES).max())


def test_a_dead_zone_widens_the_zero() -> None:
    near = decoded([{"id": "step", "step_rms": 1.0, "dead_zone": 0.5}])
    wide = decoded([{"id": "step", "step_rms": 1.0, "dead_zone": 0.8}])
    step = np.float32(np.sqrt(np.square(VALUES, dtype=np.float64).mean()))
    assert np.array_equal(near == 0, np.abs(VALUES / step) < 0.5)
    assert np.array_equal(wide == 0, np.abs(VALUES / step) + np.float32(0.2) < 1)
    assert np.array_equal(np.unique(np.rint(near / step)), np.arange(-4, 5))


def test_random_mask_keeps_what_the_seed_says_and_nothing_else() -> None:
    plain = decoded([{"id": "random-mask", "density": 0.25, "rescale": False}], 11)
    kept = plain != 0
    assert kept.sum() == VALUES.size // 4
    assert np.array_equal(plain[kept], VALUES[kept])
    scaled = decoded([{"id": "random-mask", "density": 0.25}], 11)
    assert np.array_equal(scaled, plain * np.float32(4))


def test_random_mask_does_not_look_at_the_values() -> None:
    codec = codec_from_config([{"id": "random-mask", "density": 0.25}])
    masks = [codec.decode(suite.encode(codec, {"x": v}, 4))["x"] != 0 for v in (VALUES, np.square(VALUES) + 1)]
    assert np.array_equal(masks[0], masks[1] & (VALUES != 0))


def test_random_mask_follows_its_definition() -> None:
    codec = codec_from_config([{"id": "random-mask", "density": 0.3, "rescale": False}])
    payload = suite.encode(codec, {"x": np.ones(50, dtype=np.float32)})
    seed = int.from_bytes(payload[-4 - 4 * 15 - 8 : -4 - 4 * 15], "little")
    words = philox_words(seed, 1, 50)
    chosen = sorted(range(50), key=lambda index: (-words[index], index))[:15]
    assert np.flatnonzero(codec.decode(payload)["x"]).tolist() == sorted(chosen)


def test_float16_refuses_what_it_cannot_hold() -> None:
    codec = codec_from_config([{"id": "float16"}])
    assert codec.decode(suite.encode(codec, {"x": np.array([65519.0])}))["x"] == 65504
    with pytest.raises(ValueError, match="below 65520"):
        suite.encode(codec, {"x": np.array([65520.0])})
