"""What every codec promises, as checks that take any codec and any arrays."""

import json

import numpy as np
import pytest

from fedcomp.arrays import Arrays, ArraysError, digest
from fedcomp.codecs import Codec, CodecContext, PayloadError, codec_from_config

__all__ = ["ArraysError", "PayloadError"]

CHAINS = {
    "empty": [],
    "raw": [{"id": "raw"}],
    "float16": [{"id": "float16"}],
    "rans": [{"id": "rans"}],
    "topk": [{"id": "topk", "density": 0.3}],
    "random-mask": [{"id": "random-mask", "density": 0.4}],
    "random-mask-plain": [{"id": "random-mask", "density": 0.4, "rescale": False}],
    "random-mask-all": [{"id": "random-mask", "density": 1.0}],
    "uniform": [{"id": "uniform", "bit_width": 8, "stochastic_rounding": False}],
    "uniform-stochastic": [{"id": "uniform", "bit_width": 2}],
    "step": [{"id": "step", "step_rms": 0.7, "dead_zone": 0.6}],
    "dither": [{"id": "dither", "step_rms": 2.0}],
    "topk-uniform-rans": [{"id": "topk", "density": 0.2}, {"id": "uniform", "bit_width": 4}, {"id": "rans"}],
    "dither-rans": [{"id": "dither", "step_rms": 2.0}, {"id": "rans"}],
    "topk-dither-rans": [{"id": "topk", "density": 0.2}, {"id": "dither", "step_rms": 0.5}, {"id": "rans"}],
    "random-mask-dither-rans": [
        {"id": "random-mask", "density": 0.5},
        {"id": "dither", "step_rms": 1.0},
        {"id": "rans"},
    ],
    "step-rans": [{"id": "step", "step_rms": 1.0, "dead_zone": 0.6}, {"id": "rans"}],
    "feedback": [{"id": "feedback", "decay": 0.5}],
    "feedback-topk": [{"id": "feedback", "decay": 1.0}, {"id": "topk", "density": 0.2}],
    "delta-float16": [{"id": "delta"}, {"id": "float16"}],
    "fine-step-rans": [{"id": "step", "step_rms": 0.001, "dead_zone": 0.5}, {"id": "rans"}],
    "topk-rans": [{"id": "topk", "density": 0.2}, {"id": "rans"}],
    "float16-rans": [{"id": "float16"}, {"id": "rans"}],
    "layer-topk-sign-rans": [{"id": "layer-topk", "density": 0.2}, {"id": "sign"}, {"id": "rans"}],
    "importance-topk": [{"id": "importance-topk", "density": 0.2}],
    "structured": [{"id": "structured", "density": 0.4}],
    "structured-channels-bfloat16": [{"id": "structured", "density": 0.4, "axis": "channels"}, {"id": "bfloat16"}],
    "released-mask": [{"id": "released-mask", "density": 0.2, "random_share": 0.25}],
    "low-rank": [{"id": "low-rank", "rank": 2}],
    "sketch": [{"id": "sketch", "density": 0.5}],
    "sketch-mean": [{"id": "sketch", "density": 0.5, "rows": 2, "estimate": "mean"}],
    "sketch-top": [{"id": "sketch", "density": 0.5, "rows": 3, "top_density": 0.1}],
    "block-uniform": [{"id": "block-uniform", "bit_width": 4, "block_size": 16}],
    "channel-uniform": [
        {"id": "block-uniform", "bit_width": 8, "scope": "channel", "stochastic_rounding": False},
    ],
    "nf4": [{"id": "nf4", "block_size": 32}],
    "rotate": [{"id": "rotate", "bit_width": 1}],
    "rotate-3-rans": [{"id": "rotate", "bit_width": 3}, {"id": "rans"}],
    "rotate-4": [{"id": "rotate", "bit_width": 4}],
    "sign": [{"id": "sign", "scope": "block", "block_size": 64}],
    "ternary": [{"id": "ternary"}],
    "ternary-threshold": [{"id": "ternary", "scope": "channel", "stochastic_rounding": False}],
    "fixed-point": [{"id": "fixed-point", "bit_width": 24, "fraction_bits": 6}],
    "bfloat16": [{"id": "bfloat16"}],
    "float8": [{"id": "float8"}],
    "float8-e5m2": [{"id": "float8", "format": "e5m2"}],
    "topk-float16-zstd": [{"id": "topk", "density": 0.2}, {"id": "float16"}, {"id": "zstd"}],
    "rate": [{"id": "rate", "bits": 4.0}],
    "auto": [{"id": "auto", "bits": 3.0, "cohort": 1}],
    "rate-bytes": [{"id": "rate", "bytes": 400}],
    "rate-nmse": [{"id": "rate", "nmse": 0.01}],
    "rate-dither": [{"id": "rate", "nmse": 0.02, "dither": True}],
    "rate-max": [{"id": "rate", "bits": 5.0, "mode": "max"}],
    "topk-rate": [{"id": "topk", "density": 0.5}, {"id": "rate", "bits": 6.0}],
    "topk-topk-float16-rans": [
        {"id": "topk", "density": 0.9},
        {"id": "topk", "density": 0.5},
        {"id": "float16"},
        {"id": "rans"},
    ],
}
"""Every stage alone, and stages together, by the name of their golden payload."""


def example_arrays(size: int = 150) -> dict[str, np.ndarray]:
    """Arrays of every kind that a model state has, ``size`` of the values in the largest one."""
    rng = np.random.default_rng(7)
    return {
        "layer.weight": (rng.standard_normal((size, 1)) * 0.1).astype(np.float32),
        "layer.bias": rng.laplace(size=7),
        "half": rng.standard_normal((2, 3)).astype(np.float16),
        "scalar": np.array(0.25, dtype=np.float32),
        "nothing": np.zeros((3, 0), dtype=np.float32),
        "num_batches": np.array(12345678901, dtype=np.int64),
        "flags": np.array([True, False, True]),
        "näme ☃": np.arange(5, dtype=np.uint8),
    }


def reference_for(arrays: Arrays) -> dict[str, np.ndarray]:
    """What both ends hold: near the arrays, and of their names, shapes and dtypes."""
    return {name: np.asarray(array * 0.75).astype(array.dtype) for name, array in arrays.items()}


def importance_for(arrays: Arrays) -> dict[str, np.ndarray]:
    """How much each value matters: not in the order of the magnitudes."""
    return {name: np.asarray(np.abs(np.sin(array.astype(np.float64)))) for name, array in arrays.items()}


def codec_of(name: str) -> Codec:
    """The codec of a chain; skips the test if it needs a package that is not installed."""
    if any(stage["id"] == "zstd" for stage in CHAINS[name]):
        pytest.importorskip("zstandard", reason="zstandard is not installed: pip install fedcomp[zstd]")
    return codec_from_config(CHAINS[name])


def encode(codec: Codec, arrays: Arrays, seed: int = 3) -> bytes:
    return codec.encode(arrays, np.random.default_rng(seed), context_for(codec, arrays))


def context_for(codec: Codec, arrays: Arrays) -> CodecContext:
    reference = reference_for(arrays) if codec.needs_reference else None
    return CodecContext(reference=reference, importance=importance_for(arrays) if codec.private_side else None)


def decode(codec: Codec, payload: bytes, arrays: Arrays) -> dict[str, np.ndarray]:
    """Decode what was made of ``arrays``, with the reference that belongs to them."""
    return codec.decode(payload, reference=context_for(codec, arrays).reference)


def check_round_trip(codec: Codec, arrays: Arrays) -> None:
    """Names, order, shapes and dtypes come back, values within the bound, the input untouched, the output writable."""
    before = digest(arrays)
    decoded = decode(codec, encode(codec, arrays), arrays)
    assert digest(arrays) == before
    assert list(decoded) == list(arrays)
    bound = codec.max_error(arrays, context_for(codec, arrays))
    for name, array in arrays.items():
        assert (decoded[name].shape, decoded[name].dtype) == (array.shape, array.dtype)
        assert decoded[name].flags.writeable
        if codec.lossless or array.dtype.kind != "f":
            assert decoded[name].tobytes() == array.tobytes()
        else:
            assert np.isfinite(decoded[name]).all()
            if bound is not None and array.size:
                error = np.abs(decoded[name].astype(np.float64) - array.astype(np.float64)).max()
                assert error <= bound
    if codec.lossless:
        assert bound == 0


def check_config(codec: Codec) -> None:
    """The config survives JSON and gives an equal codec of an equal digest."""
    again = codec_from_config(json.loads(json.dumps(codec.config())))
    assert again == codec
    assert again.config() == codec.config()
    assert again.digest() == codec.digest()
    assert len(bytes.fromhex(codec.digest())) == 8


def check_same_seed_same_bytes(codec: Codec, arrays: Arrays) -> None:
    assert encode(codec, arrays) == encode(codec, arrays)
    again = codec_from_config(codec.config())
    assert encode(again, arrays) == encode(codec, arrays)


def check_every_damage_is_refused(codec: Codec, arrays: Arrays) -> None:
    """Every flipped byte, every truncation and every appended byte raises ``PayloadError``."""
    payload = encode(codec, arrays)
    reference = context_for(codec, arrays).reference
    for at in range(len(payload)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(payload)
            damaged[at] ^= flip
            with pytest.raises(PayloadError):
                codec.decode(bytes(damaged), reference=reference)
        with pytest.raises(PayloadError):
            codec.decode(payload[:at], reference=reference)
    with pytest.raises(PayloadError):
        codec.decode(payload + b"\0", reference=reference)


def check_foreign_codec_is_named(codec: Codec, other: Codec, arrays: Arrays) -> None:
    """A payload of another codec is refused with both digests."""
    with pytest.raises(PayloadError) as caught:
        decode(codec, encode(other, arrays), arrays)
    assert codec.digest() in str(caught.value)
    assert other.digest() in str(caught.value)


def check_bias_is_as_stated(codec: Codec, values: np.ndarray, repeats: int = 240) -> None:
    """The mean error over seeds has a direction exactly if the codec says that it is biased.

    The first half of the seeds gives the direction, the second half tests it: under independence the t statistic is
    under 6 but for one case in 1e8. What float32 arithmetic rounds off is allowed for.
    """
    arrays = {"x": values}
    decoded = np.stack([decode(codec, encode(codec, arrays, seed), arrays)["x"].ravel() for seed in range(repeats)])
    errors = decoded.astype(np.float64) - values.ravel()
    direction = np.sign(errors[: repeats // 2].mean(axis=0))
    along = errors[repeats // 2 :] @ direction / values.size
    allowed = 6 * along.std(ddof=1) / np.sqrt(len(along)) + 1e-6 * np.abs(values).max()
    assert (along.mean() > allowed) == codec.biased
