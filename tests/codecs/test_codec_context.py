"""What codecs know besides the arrays: memory from payload to payload, and what both ends hold."""

import numpy as np
import pytest

from fedcomp.arrays import ArraysError
from fedcomp.codecs import CodecContext, codec_from_config
from fedcomp.errors import ConfigError

RNG = np.random.default_rng(0)
UPDATE = {"w": RNG.standard_normal((40, 5)).astype(np.float32), "n": np.array(3), "b": RNG.standard_normal(7)}
FEEDBACK = [{"id": "feedback", "decay": 1.0}, {"id": "topk", "density": 0.1}]


def sums(config: list, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what was sent and what was received in all."""
    codec, memory = codec_from_config(config), {}
    sent, received = np.zeros(40 * 5), np.zeros(40 * 5)
    for seed in range(rounds):
        payload, memory = codec.advance(UPDATE, np.random.default_rng(seed), CodecContext(memory=memory))
        sent += UPDATE["w"].ravel()
        received += codec.decode(payload)["w"].ravel()
    return sent, received


def test_feedback_sends_in_the_end_what_a_biased_codec_drops_for_ever():
    sent, received = sums(FEEDBACK, 60)
    _, without = sums(FEEDBACK[1:], 60)
    assert (without == 0).mean() == pytest.approx(0.9, abs=0.02)
    assert np.abs(sent - without).max() > 60 * 0.5
    assert (received != 0).mean() > 0.85
    assert np.abs(sent - received).max() < 15  # a bounded rest, however many rounds: 60 rounds sent up to 150


def test_the_residual_is_what_was_sent_minus_what_was_received():
    codec = codec_from_config(FEEDBACK)
    payload, memory = codec.advance(UPDATE, np.random.default_rng(0))
    residual = np.concatenate([UPDATE[name].ravel() - codec.decode(payload)[name].ravel() for name in ("w", "b")])
    assert list(memory) == ["0.feedback.residual"]
    np.testing.assert_allclose(memory["0.feedback.residual"], residual, atol=1e-6)


def test_decay_forgets():
    codec = codec_from_config([{"id": "feedback", "decay": 0.5}, {"id": "topk", "density": 0.1}])
    memory = {"0.feedback.residual": np.full(207, 8.0, dtype=np.float32)}
    zeros = {name: np.zeros_like(array) for name, array in UPDATE.items()}
    payload, _ = codec.advance(zeros, np.random.default_rng(0), CodecContext(memory=memory))
    assert set(np.unique(codec.decode(payload)["w"])) <= {0.0, 4.0}


def test_memory_of_another_stage_or_of_other_shapes_is_not_used():
    codec = codec_from_config(FEEDBACK)
    alone = codec.encode(UPDATE, np.random.default_rng(0))
    for memory in ({"1.feedback.residual": np.ones(207)}, {"0.feedback.residual": np.ones(3)}):
        assert codec.encode(UPDATE, np.random.default_rng(0), CodecContext(memory=memory)) == alone


def test_a_codec_without_memory_keeps_none():
    codec = codec_from_config([{"id": "topk", "density": 0.1}])
    payload, memory = codec.advance(UPDATE, np.random.default_rng(0))
    assert memory == {}
    assert payload == codec.encode(UPDATE, np.random.default_rng(0))


def test_a_delta_is_small_where_the_reference_is_near():
    near = {name: np.asarray(array * 1.001).astype(array.dtype) for name, array in UPDATE.items()}
    codec = codec_from_config([{"id": "delta"}, {"id": "uniform", "bit_width": 8}])
    plain = codec_from_config([{"id": "uniform", "bit_width": 8}])
    payload = codec.encode(UPDATE, np.random.default_rng(0), CodecContext(reference=near))
    error = np.abs(codec.decode(payload, reference=near)["w"] - UPDATE["w"]).max()
    coarse = np.abs(plain.decode(plain.encode(UPDATE, np.random.default_rng(0)))["w"] - UPDATE["w"]).max()
    assert error < coarse / 500


def test_a_reference_of_other_shapes_is_refused_by_name():
    codec = codec_from_config([{"id": "delta"}])
    with pytest.raises(ArraysError, match=r"reference: expected an array 'w' of shape \[40, 5\]"):
        codec.encode(UPDATE, np.random.default_rng(0), CodecContext(reference={**UPDATE, "w": np.zeros(3)}))


@pytest.mark.parametrize("stage", ["delta", "feedback"])
def test_what_needs_all_values_cannot_follow_a_pruner(stage: str):
    options = {"decay": 1.0} if stage == "feedback" else {}
    with pytest.raises(ConfigError, match="all values of the arrays"):
        codec_from_config([{"id": "topk", "density": 0.1}, {"id": stage, **options}])


def test_a_payload_with_context_says_so():
    feedback, delta = codec_from_config(FEEDBACK), codec_from_config([{"id": "delta"}])
    assert (feedback.private_side, feedback.needs_reference) == (True, False)
    assert (delta.private_side, delta.needs_reference) == (False, True)
