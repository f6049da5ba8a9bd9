"""Which values the pruners keep."""

import numpy as np
import pytest
from slow_decoder import philox_words

from contracts import codec_suite as suite
from fedcomp.arrays import ArraysError
from fedcomp.codecs import CodecContext, codec_from_config

RNG = np.random.default_rng(4)
LAYERS = {
    "large": (100 * RNG.standard_normal((20, 10))).astype(np.float32),
    "small": RNG.standard_normal((5, 8)).astype(np.float32),
    "bias": RNG.standard_normal(3).astype(np.float32),
}
REFERENCE = {name: RNG.standard_normal(array.shape).astype(np.float32) for name, array in LAYERS.items()}


def kept(stage: dict, context: CodecContext | None = None, seed: int = 1) -> dict[str, np.ndarray]:
    """Where values came back as they were; all others are 0."""
    codec = codec_from_config([stage])
    context = context or CodecContext()
    decoded = codec.decode(codec.encode(LAYERS, np.random.default_rng(seed), context), reference=context.reference)
    for name, array in LAYERS.items():
        assert np.array_equal(decoded[name], np.where(decoded[name] != 0, array, 0))
    return {name: array != 0 for name, array in decoded.items()}


def largest(keys: np.ndarray, count: int) -> np.ndarray:
    mask = np.zeros(keys.size, dtype=bool)
    mask[np.argsort(-keys.ravel(), kind="stable")[:count]] = True
    return mask.reshape(keys.shape)


def test_every_layer_keeps_its_own_share():
    masks = kept({"id": "layer-topk", "density": 0.1})
    for (name, mask), count in zip(masks.items(), (20, 4, 1), strict=True):
        assert np.array_equal(mask, largest(np.abs(LAYERS[name]), count))
    everything = kept({"id": "topk", "density": 0.1})
    assert not everything["small"].any()  # where all layers together are pruned, the small one is starved


def test_importance_decides_together_with_the_magnitude():
    importance = {name: np.square(RNG.standard_normal(array.shape)) for name, array in LAYERS.items()}
    masks = kept({"id": "importance-topk", "density": 0.2}, CodecContext(importance=importance))
    scores = np.concatenate([np.abs(LAYERS[name].ravel()) * importance[name].ravel().astype("f4") for name in LAYERS])
    assert np.array_equal(np.concatenate([mask.ravel() for mask in masks.values()]), largest(scores, 49))
    by_magnitude = kept({"id": "topk", "density": 0.2})
    assert any(not np.array_equal(masks[name], by_magnitude[name]) for name in masks)


def test_importance_that_is_missing_or_negative_is_refused():
    codec = codec_from_config([{"id": "importance-topk", "density": 0.2}])
    with pytest.raises(ArraysError, match="importance: expected how much each value matters, got none"):
        codec.encode(LAYERS, np.random.default_rng(0))
    negative = {name: np.full(array.shape, -1.0) for name, array in LAYERS.items()}
    with pytest.raises(ArraysError, match=r"importance: expected numbers that are not negative, got -1\.0"):
        codec.encode(LAYERS, np.random.default_rng(0), CodecContext(importance=negative))


def test_tiny_and_huge_importance_still_has_an_order():
    codec = codec_from_config([{"id": "importance-topk", "density": 0.25}])
    values = np.array([1e-30, 3e-30, 2e-30, 1e-30], dtype=np.float32)
    for factor in (1e-30, 1e30):
        context = CodecContext(importance={"x": np.full(4, factor)})
        decoded = codec.decode(codec.encode({"x": values}, np.random.default_rng(0), context))["x"]
        assert np.flatnonzero(decoded).tolist() == [1]


@pytest.mark.parametrize(("axis", "place"), [("rows", 0), ("channels", 1)])
def test_whole_rows_of_the_largest_norm_are_kept(axis: str, place: int):
    masks = kept({"id": "structured", "density": 0.3, "axis": axis})
    for name, share in (("large", (6, 3)), ("small", (2, 2))):
        rows = np.moveaxis(masks[name], place, 0)
        norms = np.linalg.norm(np.moveaxis(LAYERS[name], place, 0), axis=1)
        assert np.array_equal(rows.all(axis=1), largest(norms, share[place]))
        assert np.array_equal(rows.all(axis=1), rows.any(axis=1))
    assert masks["bias"].all()


def test_a_convolution_loses_whole_input_channels():
    kernel = {"k": RNG.standard_normal((4, 6, 3, 3)).astype(np.float32)}
    config = [{"id": "structured", "density": 0.5, "axis": "channels"}, {"id": "block-uniform", "bit_width": 8}]
    codec = codec_from_config(config)
    decoded = codec.decode(codec.encode(kernel, np.random.default_rng(0)))["k"]
    norms = np.linalg.norm(np.moveaxis(kernel["k"], 1, 0).reshape(6, -1), axis=1)
    assert np.array_equal(np.moveaxis(decoded, 1, 0).reshape(6, -1).any(axis=1), largest(norms, 3))


def test_a_structured_payload_has_one_bit_a_row_and_a_length_that_says_nothing():
    codec = codec_from_config([{"id": "structured", "density": 0.3}])
    sizes = {
        len(codec.encode({n: np.roll(a, k) for n, a in LAYERS.items()}, np.random.default_rng(0))) for k in range(5)
    }
    assert len(sizes) == 1
    empty = len(codec_from_config([]).encode({name: array[:0] for name, array in LAYERS.items()}, RNG))
    # One more section than an empty payload has: the mask, 25 rows in 4 bytes, and the values that are left.
    assert sizes == {empty + 2 * 5 + 4 + 4 * (6 * 10 + 2 * 8 + 3)}


def test_a_released_mask_follows_the_reference_and_not_the_update():
    context = CodecContext(reference=REFERENCE)
    masks = kept({"id": "released-mask", "density": 0.25}, context)
    keys = np.abs(np.concatenate([array.ravel() for array in REFERENCE.values()]))
    assert np.array_equal(np.concatenate([mask.ravel() for mask in masks.values()]), largest(keys, 61))
    codec = codec_from_config([{"id": "released-mask", "density": 0.25}])
    lengths = [len(codec.encode(arrays, np.random.default_rng(0), context)) for arrays in (LAYERS, REFERENCE)]
    assert lengths[0] == lengths[1]
    plain = len(codec_from_config([{"id": "random-mask", "density": 0.25}]).encode(LAYERS, RNG))
    assert lengths[0] == plain  # a fingerprint in place of a seed, and no index bits


def test_a_share_of_a_released_mask_is_drawn_anew():
    context = CodecContext(reference=REFERENCE)
    stage = {"id": "released-mask", "density": 0.25, "random_share": 0.3}
    flat = [np.concatenate([m.ravel() for m in kept(stage, context, seed).values()]) for seed in (1, 2)]
    keys = np.abs(np.concatenate([array.ravel() for array in REFERENCE.values()]))
    fixed = largest(keys, 61 - 18)
    assert all(mask.sum() == 61 and mask[fixed].all() for mask in flat)
    assert not np.array_equal(*flat)


def test_the_drawn_share_follows_its_definition():
    codec = codec_from_config([{"id": "released-mask", "density": 0.5, "random_share": 0.5}])
    reference = {"x": np.arange(20, 0, -1, dtype=np.float32)}
    arrays = {"x": np.ones(20, dtype=np.float32)}
    payload = codec.encode(arrays, np.random.default_rng(0), CodecContext(reference=reference))
    seed = int.from_bytes(payload[-4 - 4 * 10 - 8 : -4 - 4 * 10], "little")
    words = philox_words(seed, 4, 15)
    drawn = sorted(range(15), key=lambda index: (-words[index], index))[:5]
    found = np.flatnonzero(codec.decode(payload, reference=reference)["x"]).tolist()
    assert found == [0, 1, 2, 3, 4, *sorted(5 + index for index in drawn)]


def test_released_masks_are_linear():
    context = CodecContext(reference=REFERENCE)
    codec = codec_from_config([{"id": "released-mask", "density": 0.25}])
    both = {name: LAYERS[name] + REFERENCE[name] for name in LAYERS}
    parts = [
        codec.decode(codec.encode(arrays, RNG, context), reference=REFERENCE) for arrays in (LAYERS, REFERENCE, both)
    ]
    for name in LAYERS:
        np.testing.assert_array_equal(parts[0][name] + parts[1][name], parts[2][name])


def test_after_a_pruner_per_layer_each_layer_has_a_scale_of_its_own():
    codec = codec_from_config([{"id": "layer-topk", "density": 0.2}, {"id": "sign"}])
    decoded = codec.decode(suite.encode(codec, LAYERS))
    scales = [np.unique(np.abs(array[array != 0])) for array in decoded.values()]
    assert [len(found) for found in scales] == [1, 1, 1]
    assert scales[0] > 20 * scales[1]
