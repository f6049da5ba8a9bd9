"""Where the bytes of a payload went."""

import numpy as np
import pytest

from fedcomp.codecs import PayloadError, codec_from_config
from fedcomp.codecs.breakdown import breakdown, code_lengths

RNG = np.random.default_rng(0)
ARRAYS = {
    "small": (RNG.standard_normal((300, 40)) * 0.01).astype(np.float32),
    "large": RNG.standard_normal(5000).astype(np.float32),
    "count": np.array(3),
}
TOPK = [{"id": "topk", "density": 0.3}, {"id": "step", "step_rms": 1, "dead_zone": 0.6}, {"id": "rans"}]


@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_sizes_after_a_stage_are_those_of_the_chain_that_ends_there(stages: int) -> None:
    whole = codec_from_config(TOPK)
    shown = breakdown(whole, whole.encode(ARRAYS, RNG), 10**6).stages
    assert [name for name, _ in shown] == ["fp32", "topk", "step", "rans"]
    part = codec_from_config(TOPK[:stages])
    sizes = len(part.encode(ARRAYS, RNG))
    assert shown[stages][1] == pytest.approx(sizes, abs=8 if stages == 3 else 0)


@pytest.mark.parametrize("config", [[], TOPK, [{"id": "rate", "bits": 1.0}], [{"id": "float16"}]])
def test_bytes_by_array_add_up_to_the_payload(config: list) -> None:
    codec = codec_from_config(config)
    payload = codec.encode(ARRAYS, RNG)
    arrays = breakdown(codec, payload, 10**6).arrays
    assert [(name, values) for name, values, _ in arrays] == [("small", 12000), ("large", 5000), ("count", 1)]
    assert sum(size for _, _, size in arrays) == pytest.approx(len(payload))


def test_bytes_go_to_the_array_whose_values_are_sent() -> None:
    codec = codec_from_config(TOPK)
    (_, _, small), (_, _, large), _ = breakdown(codec, codec.encode(ARRAYS, RNG), 10**6).arrays
    assert large > 4 * small  # 5,000 of the 17,000 values, and nearly all that top-k keeps


@pytest.mark.parametrize("config", [[{"id": "rotate", "bit_width": 1}], [{"id": "low-rank", "rank": 2}]])
def test_a_chain_that_mixes_values_has_no_bytes_by_array(config: list) -> None:
    codec = codec_from_config(config)
    assert breakdown(codec, codec.encode(ARRAYS, RNG), 10**6).arrays == ()


def test_code_lengths_are_entropies_block_by_block() -> None:
    symbols = np.concatenate([np.zeros(256), RNG.integers(0, 4, 2560) * 8 - 12])
    bits = code_lengths(symbols)
    assert (bits[:256] == 0).all()
    assert bits[256:].mean() == pytest.approx(2.0, abs=0.02)


def test_a_foreign_payload_is_refused() -> None:
    codec = codec_from_config(TOPK)
    with pytest.raises(PayloadError):
        breakdown(codec, codec_from_config([]).encode(ARRAYS, RNG), 10**6)
