"""The codec that chooses: by the link, by what a mean will lose, and never over the link's bytes."""

import logging

import numpy as np
import pytest

from fedcomp.arrays import ArraysError
from fedcomp.codecs import CodecContext, PayloadError, codec_from_config
from fedcomp.codecs.candidates import CANDIDATES, try_candidates
from fedcomp.codecs.chain import Chain
from fedcomp.codecs.frame import read_frame
from fedcomp.codecs.stage import Form, Packet, Spec
from fedcomp.codecs.stages.auto import Auto

RNG = np.random.default_rng(0)
UPDATE = {
    "w": (RNG.standard_t(3, (100, 80)) * np.geomspace(0.01, 1, 100)[:, None]).astype(np.float32),
    "b": (30 * RNG.standard_normal(50)).astype(np.float32),
}


def chosen(codec: Chain, payload: bytes) -> str:
    return CANDIDATES[read_frame(payload, bytes.fromhex(codec.digest()), 10**6).sections[-1][0]].name


def encode(max_bytes: int | None, **options: object) -> tuple[str, bytes, dict[str, np.ndarray]]:
    codec = codec_from_config([{"id": "auto", **options}])
    assert isinstance(codec, Chain)
    payload = codec.encode(UPDATE, np.random.default_rng(1), CodecContext(max_bytes=max_bytes, reference=UPDATE))
    return chosen(codec, payload), payload, codec.decode(payload)


@pytest.mark.parametrize("max_bytes", [200, 600, 2000, 9000, 50_000])
@pytest.mark.parametrize("cohort", [1, 100])
def test_the_link_is_never_overrun_and_a_wider_one_loses_less(max_bytes: int, cohort: int) -> None:
    _, payload, decoded = encode(max_bytes, cohort=cohort)
    assert len(payload) <= max_bytes
    _, wider, better = encode(4 * max_bytes, cohort=cohort)
    assert len(wider) > len(payload) or len(payload) > 30_000
    error, less = (sum(np.square(d[n] - UPDATE[n]).sum() for n in UPDATE) for d in (decoded, better))
    if cohort == 1:  # for a mean of many, a code without bias may lose more of each
        assert less <= error


def test_a_link_that_carries_everything_gets_every_bit() -> None:
    name, _, decoded = encode(10**6)
    assert name == "fp32"
    assert all(np.array_equal(decoded[key], UPDATE[key]) for key in UPDATE)


def test_one_client_is_coded_with_bias_and_a_hundred_without() -> None:
    assert encode(3000, cohort=1)[0].startswith("rate, small") or encode(3000, cohort=1)[0] == "rate"
    assert encode(3000, cohort=100)[0] == "rate, dithered"


def test_the_least_predicted_error_is_sent_and_the_log_says_of_what(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fedcomp.codecs"):
        name, payload, _ = encode(3000, cohort=10)
    assert f"auto: {name} for 8050 values" in caplog.text
    assert all(candidate.name in caplog.text for candidate in CANDIDATES[:3])
    values = np.concatenate([UPDATE["w"].ravel(), UPDATE["b"]])
    trials = try_candidates(values, [(100, 80), (50,)], 2900, 10, 5)
    best = min(trials, key=lambda trial: trial.mean_error)
    assert CANDIDATES[best.candidate].name == name
    assert len(payload) <= 3000


def test_decided_from_the_reference_the_update_does_not_steer_the_choice() -> None:
    codec = codec_from_config([{"id": "auto", "bits": 3.0, "cohort": 10, "decide_from": "reference"}])
    assert isinstance(codec, Chain)
    context = CodecContext(reference=UPDATE)
    spiky = {name: np.zeros_like(array) for name, array in UPDATE.items()}
    spiky["w"][0, 0] = 1.0
    ways = {chosen(codec, codec.encode(update, np.random.default_rng(2), context)) for update in (UPDATE, spiky)}
    assert len(ways) == 1


def test_deciding_from_a_reference_needs_one_to_encode_and_none_to_decode() -> None:
    codec = codec_from_config([{"id": "auto", "decide_from": "reference"}])
    with pytest.raises(ArraysError, match="reference: expected what both ends hold"):
        codec.encode(UPDATE, np.random.default_rng(0))
    payload = codec.encode(UPDATE, np.random.default_rng(0), CodecContext(reference=UPDATE))
    assert codec.decode(payload)["w"].shape == (100, 80)


def test_an_unknown_candidate_is_refused() -> None:
    stage = Auto()
    form = Form(Spec(np.dtype(np.float32), 3))
    for data in ([], [len(CANDIDATES)], [255, 1]):
        with pytest.raises(PayloadError, match="auto: expected the number of a candidate"):
            stage.inverse(Packet(np.array(data, dtype=np.uint8)), form)
