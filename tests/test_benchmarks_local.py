"""The benchmark of mode local: added variance against theory, and cuts that train, noise and send what they say."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks import local_noise, local_tasks
from benchmarks.local_cuts import MAPS, SIDE, cut, pooling, projection, subset
from benchmarks.local_mask import MovingColumns, MovingHead, moving_columns
from benchmarks.local_noise import Capture, bits_at, measure
from benchmarks.local_runs import REFERENCE, SETTINGS, Outcome, Setting, config_of, rows_of
from benchmarks.local_tasks import UNCUT, make_cut
from fedcomp.codecs import CodecContext, PayloadError
from fedcomp.codecs.chain import Chain
from fedcomp.codecs.modes import admitted_modes
from fedcomp.config import config_from_dict
from fedcomp.privacy import PoissonSampler
from fedcomp.tasks import Split
from fedcomp.tasks.scattering import NUM_FEATURES
from fedcomp.training import Draws, check_private_model, get_arrays, train_private

CLIENTS, SIZE, STD = 10, 20_000, 0.25


@pytest.fixture(scope="module")
def capture():
    rng = np.random.default_rng(0)
    signals = (0.3 * STD * rng.standard_normal(SIZE)).astype(np.float32)[None].repeat(CLIENTS, axis=0)
    noisy = signals + STD * rng.standard_normal((CLIENTS, SIZE), dtype=np.float32)
    return Capture(0, 1, tuple({"w": row.reshape(10, -1)} for row in noisy), signals, STD**2)


@pytest.mark.parametrize("step", [0.5, 1.0])
def test_dither_adds_a_twelfth_of_its_step_squared_to_each_client_and_to_the_mean(capture, step):
    row = measure(capture, [{"id": "dither", "step_rms": step}, {"id": "rans"}])
    expected = step**2 / 12 * (1 + 0.3**2)  # the step follows the whole update, signal and noise
    assert row["added"] == pytest.approx(expected, rel=0.02)
    assert row["added_mean"] == pytest.approx(expected, rel=0.05)
    assert row["gain"] == pytest.approx(1, abs=0.003)
    assert row["equal_gain"] == pytest.approx(row["added"], rel=0.02)
    assert row["signal"] == pytest.approx(1, abs=0.03)


def test_bits_are_those_of_whole_payloads(capture):
    row = measure(capture, [{"id": "float16"}])
    assert 16 < row["bits"] < 16.1
    assert row["added"] < 1e-6


def test_a_biased_codec_loses_signal_and_its_error_stays_in_the_mean(capture):
    row = measure(capture, [{"id": "topk", "density": 0.3}, {"id": "rans"}])
    kept = 0.7833  # of a Gaussian's energy, by the 30 % largest
    assert row["gain"] == pytest.approx(kept, rel=0.01)
    assert row["signal"] == pytest.approx(kept, abs=0.03)
    assert row["added_mean"] > 1.1 * row["added"]
    assert row["equal_gain"] == pytest.approx((1 / kept - 1) * (1 + 0.3**2), rel=0.02)


def test_chains_pay_the_rate_that_is_asked_of_them():
    gaussian = Capture(
        0, 1, ({"w": np.random.default_rng(1).standard_normal(UNCUT, dtype=np.float32)},), np.ones((1, UNCUT)), 1.0
    )
    for name, (asked, chain) in local_noise.chains([2.25]).items():
        if name.startswith(("dither", "step", "rate 2.25, dithered")):
            assert measure(gaussian, chain)["bits"] == pytest.approx(asked, rel=0.02), name


def test_the_rate_at_a_limit_lies_on_a_straight_line_in_the_logarithm():
    rows = [{"bits": 3.0, "added": 0.01}, {"bits": 2.0, "added": 0.04}]
    assert bits_at(rows, 0.02) == pytest.approx(2.5)
    assert bits_at(rows, 0.05) is None


def test_the_goal_has_to_hold_for_a_client_and_for_the_mean():
    def rows(worse):
        return {
            f"rate {bits:g}, dithered": dict.fromkeys(local_noise.VIEWS, 0.8 / 4**bits)
            | {"bits": bits, "added_mean": worse * 0.8 / 4**bits}
            for bits in (1.0, 2.0, 3.0)
        }

    first, *others = local_noise.goals(rows(1.0))
    assert (first.value, first.verdict()) == (pytest.approx(2.0), "holds")
    assert local_noise.goals(rows(4.0))[0].verdict() == "misses by 0.5 bits"
    assert local_noise.goals(rows(100.0))[0].verdict() == "not measured"
    assert {goal.verdict() for goal in others} == {"not measured"}


@pytest.mark.parametrize("name", dict.fromkeys(setting.cut for setting in SETTINGS))
def test_a_cut_trains_the_share_that_it_says(name):
    made = make_cut(name)
    module = made.network()
    check_private_model(module)
    size = sum(array.size for array in get_arrays(module).values())
    if name.startswith("moving"):
        (stage,) = made.stages
        size = 10 * moving_columns(np.zeros(10), NUM_FEATURES, stage["density"]).sum()
    assert size == round(made.share * UNCUT)
    inputs = NUM_FEATURES if made.mapped is None else made.mapped(np.ones((1, NUM_FEATURES), np.float32)).shape[1]
    assert module.eval()(torch.ones(2, inputs)).shape == (2, 10)


def test_a_run_keeps_clipping_and_step_unless_its_mask_moves():
    assert config_of(REFERENCE, 0, 100)["uplink"] == []
    for setting in SETTINGS:
        config = config_from_dict(config_of(setting, 0, 100) | {"uplink": []})
        factor = int(setting.cut.partition("_")[2]) if setting.cut.startswith("moving") else 1
        assert config.training.learning_rate == pytest.approx(12 * factor)
        assert config.privacy.max_grad_norm == pytest.approx(0.1 / factor**0.5)


def test_unknown_cuts_are_refused():
    for name in ("square_2", "uncut_2", "rank", "rank_0", "rank_x"):
        with pytest.raises(ValueError, match="cut must be uncut or one of"):
            make_cut(name)
    with pytest.raises(ValueError, match="rank must be less than 10, got 10"):
        make_cut("rank_10").network()
    with pytest.raises(AttributeError, match="got 'square_2'"):
        _ = local_tasks.square_2
    assert callable(local_tasks.rank_2)


def test_the_frozen_side_of_a_low_rank_head_is_public_and_lets_every_class_win():
    mixer = make_cut("rank_5").network()[1].weight.numpy()
    assert np.array_equal(mixer, make_cut("rank_5").network()[1].weight.numpy())
    assert np.allclose(mixer.T @ mixer, 9 / 5 * np.eye(5), atol=0.1)
    assert np.allclose(mixer.sum(axis=0), 0, atol=0.1)
    for rank in (2, 5):
        rows = make_cut(f"rank_{rank}").network()[1].weight.numpy()
        assert (np.argmax(rows @ rows.T, axis=1) == np.arange(10)).all()


def test_a_moving_mask_is_a_whole_head_whose_gradient_is_masked_before_it_is_clipped():
    module, bound = MovingHead(50, 10, 0.2), 0.01
    with torch.no_grad():
        module.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    inputs = np.random.default_rng(0).standard_normal((1, 50)).astype(np.float32)
    assert torch.allclose(module.train()(torch.tensor(inputs)), module.eval()(torch.tensor(inputs)), atol=1e-5)
    trained = train_private(
        module,
        Split(inputs, np.array([3]), inputs),
        loss=lambda outputs, targets: functional.cross_entropy(outputs, targets, reduction="none"),
        sampler=PoissonSampler(1, 1.0, 1),
        nominal_examples=1,
        max_grad_norm=bound,
        noise_multiplier=0.0,
        learning_rate=1.0,
        draws=Draws(*np.random.default_rng(0).spawn(2)),
    )
    (update,) = trained.arrays.values()
    columns = moving_columns(module.head.weight.detach().numpy().reshape(-1), 50, 0.2)
    assert columns.sum() == 10
    assert not update[:, ~columns].any()
    # clipped to the whole bound: what lies outside of the mask used none of it up
    assert np.linalg.norm(update) == pytest.approx(bound, rel=1e-3)


def test_what_moves_is_sent_and_nothing_else():
    rng = np.random.default_rng(0)
    reference = {"head.weight": rng.standard_normal((10, 50)).astype(np.float32)}
    update = {"head.weight": rng.standard_normal((10, 50)).astype(np.float32)}
    columns = moving_columns(reference["head.weight"].reshape(-1), 50, 0.2)
    codec = Chain((MovingColumns(0.2),))
    payload = codec.encode(update, rng, CodecContext(reference=reference))
    assert len(payload) < 4 * 100 + 80
    decoded = codec.decode(payload, reference=reference)["head.weight"]
    assert np.array_equal(decoded, np.where(columns, update["head.weight"], 0))
    other = {"head.weight": reference["head.weight"] + 1}
    assert not np.array_equal(columns, moving_columns(other["head.weight"].reshape(-1), 50, 0.2))
    with pytest.raises(PayloadError, match="reference"):
        codec.decode(payload, reference=other)
    assert "local" in admitted_modes(MovingColumns(0.2))
    with pytest.raises(ValueError, match="one matrix"):
        codec.forms([(10, 50), (10,)])


def test_every_column_gets_its_turn():
    counts = sum(moving_columns(np.full(3, seed), 40, 0.25).astype(int) for seed in range(400))
    assert counts.sum() == 400 * 10
    assert counts.min() > 60
    assert counts.max() < 140


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).standard_normal((5, NUM_FEATURES)).astype(np.float32)


def test_a_projection_is_onto_orthonormal_directions(features):
    whole = projection(4096)(features)
    assert np.allclose(whole @ whole.T, features @ features.T, rtol=1e-3, atol=0.5)
    part = projection(1000)(features)
    assert (np.linalg.norm(part, axis=1) / np.linalg.norm(features, axis=1)) ** 2 == pytest.approx(
        1000 / 4096, rel=0.15
    )


def test_pooling_averages_windows(features):
    assert np.allclose(pooling(SIDE)(features), features)
    assert np.allclose(pooling(1)(features), features.reshape(5, MAPS, -1).mean(axis=2), atol=1e-5)
    corner = features.reshape(5, MAPS, SIDE, SIDE)[:, :, :3, :3].mean(axis=(2, 3))
    assert np.allclose(pooling(3)(features).reshape(5, MAPS, 3, 3)[:, :, 0, 0], corner, atol=1e-5)


@pytest.mark.parametrize("mapped", [projection(100), subset(100), pooling(2)])
def test_cut_rows_keep_their_length_and_look_at_no_other_row(features, mapped):
    found = cut(features, mapped)
    assert found.dtype == np.float16
    assert np.linalg.norm(found.astype(np.float32), axis=1) == pytest.approx(np.linalg.norm(features, axis=1), rel=1e-3)
    assert np.allclose(found[2:3], cut(features[2:3], mapped), rtol=2e-3, atol=2e-3)
    assert not cut(np.zeros((1, NUM_FEATURES)), mapped).any()


def test_rows_compare_with_the_whole_head_of_the_same_seed():
    small = Setting("rank_2")
    spent = {"value": 3.0, "sentence": "epsilon"}
    outcomes = {(REFERENCE, seed): Outcome(0.88 + seed / 100, 4000, 10, spent, 3.6, 1.0) for seed in (0, 1)}
    outcomes |= {(small, seed): Outcome(0.87, 500, 10, spent, 3.6, 1.0) for seed in (0, 1)}
    whole, cut_row = rows_of(outcomes, [0, 1], 10)
    assert whole["lost_points"] == [0, 0]
    assert cut_row["lost_points"] == pytest.approx([1, 2])
    assert cut_row["uplink_ratio"] == 8
    assert cut_row["bits"] == pytest.approx(8 * 500 / 10 / 10 / UNCUT)
    assert math.isclose(cut_row["share"], 2 * (NUM_FEATURES + 1) / UNCUT)
