"""Gradient inversion: it rebuilds what plain and clipped updates hold, and fails against privacy noise."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fedcomp
from fedcomp.audit.inversion import choose_method, invert_update, score_reconstruction
from fedcomp.tasks.digits import digits
from fedcomp.threads import single_thread
from fedcomp.training import get_arrays

SIDE = 8


@pytest.fixture(autouse=True)
def one_thread():
    with single_thread():
        yield


@pytest.fixture(scope="module")
def images():
    """Thirty-two digits as pictures ``[n, 1, 8, 8]`` in [0, 1], and their classes."""
    split = digits().train()
    return ((split.inputs[:32] + 1) / 2).reshape(-1, 1, SIDE, SIDE), split.targets[:32]


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return make()


def perceptron():
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 64), nn.ReLU(), nn.Linear(64, 10)))


def convolutional():
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, padding=1), nn.Tanh(), nn.Flatten(),
            nn.Linear(8 * SIDE**2, 10),
        )
    )  # fmt: skip


def one_step(module, inputs, targets, max_grad_norm=None, noise_multiplier=0.0):
    """The update of one step of SGD; clipped to a norm and noised as DP-SGD does with a batch of one, if asked."""
    loss = functional.cross_entropy(module(torch.from_numpy(inputs)), torch.from_numpy(targets))
    named = dict(module.named_parameters())
    gradients = [each.numpy() for each in torch.autograd.grad(loss, list(named.values()))]
    norm = float(np.sqrt(sum((each**2).sum() for each in gradients)))
    factor = min(1.0, max_grad_norm / norm) if max_grad_norm else 1.0
    deviation, rng = noise_multiplier * (max_grad_norm or 0.0), np.random.default_rng(7)
    return {
        name: (-0.1 * (factor * each + deviation * rng.standard_normal(each.shape))).astype(np.float32)
        for name, each in zip(named, gradients, strict=True)
    }


def attack(module, update, inputs, **changes):
    found = invert_update(module, update, inputs.shape[1:], len(inputs), rng=np.random.default_rng(0), **changes)
    assert found.shape == inputs.shape
    return score_reconstruction(inputs, found, "")


def by_largest_row(update):
    """The plain form of the analytic attack: one row's quotient."""
    weight, bias = update["1.weight"].astype(float), update["1.bias"].astype(float)
    row = np.abs(bias).argmax()
    return (weight[row] / bias[row]).clip(0, 1)


def test_a_dense_first_layer_gives_the_example_away_and_clipping_is_no_defence(images):
    module, inputs, targets = perceptron(), images[0][:1], images[1][:1]
    assert choose_method(module, inputs.shape[1:]) == "analytic"
    for bound in (None, 0.5):
        report = attack(module, one_step(module, inputs, targets, bound), inputs)
        assert report.psnr > 60
        assert report.ssim > 0.999
    for noise in (0.5, 1.0):
        report = attack(module, one_step(module, inputs, targets, 0.5, noise), inputs)
        assert report.psnr < 12
        assert report.ssim < 0.3


def test_all_rows_together_resist_more_noise_than_the_largest(images):
    module, inputs, targets = perceptron(), images[0][:1], images[1][:1]
    update = one_step(module, inputs, targets, 0.5, 0.01)
    alone = score_reconstruction(inputs, by_largest_row(update).reshape(inputs.shape))
    assert attack(module, update, inputs).psnr > alone.psnr + 3


@pytest.mark.parametrize(
    ("stages", "least"),
    [
        ([{"id": "topk", "density": 0.1}, {"id": "dither", "step_rms": 0.5}, {"id": "rans"}], 20),
        ([{"id": "dither", "step_rms": 0.5}, {"id": "rans"}], 30),
    ],
)
def test_a_codec_is_no_defence(images, stages, least):
    """What the attacker has is what was decoded from the wire."""
    module, inputs, targets = perceptron(), images[0][:1], images[1][:1]
    codec = fedcomp.codec_from_config(stages)
    payload = codec.encode(one_step(module, inputs, targets), rng=np.random.default_rng(0))
    assert attack(module, codec.decode(payload), inputs).psnr > least


def test_dropped_entries_are_no_evidence(images):
    """Counting them as zeros, the wrong variant, loses most of the picture's contrast."""
    module, inputs, targets = perceptron(), images[0][:1], images[1][:1]
    update = one_step(module, inputs, targets)
    kept = np.random.default_rng(1).random(update["1.weight"].shape) < 0.2
    update["1.weight"] *= kept
    weight, bias = update["1.weight"].astype(float), update["1.bias"].astype(float)
    naive = score_reconstruction(inputs, ((bias @ weight) / (bias @ bias)).clip(0, 1).reshape(inputs.shape))
    assert attack(module, update, inputs).psnr > naive.psnr + 20


def test_a_linear_model_gives_its_features_away():
    """Without a known range; noise hides them."""
    features = np.random.default_rng(2).normal(3, 5, (1, 50)).astype(np.float32)
    module = seeded(lambda: nn.Linear(50, 10))
    target = np.array([4])
    report = attack(module, one_step(module, features, target), features, input_range=None)
    assert report.cosine > 0.99999
    assert report.ssim is None
    noised = attack(module, one_step(module, features, target, 1.0, 1.0), features, input_range=None)
    assert abs(noised.cosine) < 0.5


def test_of_several_examples_some_are_seen(images):
    module, inputs, targets = perceptron(), images[0][:4], images[1][:4]
    update = one_step(module, inputs, targets)
    report = attack(module, update, inputs)
    guess = score_reconstruction(inputs, np.broadcast_to(images[0][4:].mean(axis=0), inputs.shape))
    assert report.cosine > 0.75
    assert report.psnr > guess.psnr
    with pytest.raises(ValueError, match="num_examples must be at most the"):
        invert_update(module, update, inputs.shape[1:], 65, rng=np.random.default_rng(0))


def test_a_convolutional_model_gives_the_example_away(images):
    """By search; its class is read off the update. Clipped: as well. With noise, or the wrong model: no more."""
    module, inputs, targets = convolutional(), images[0][:1], images[1][:1]
    assert choose_method(module, inputs.shape[1:]) == "optimized"
    settings = {"steps": 100, "total_variation": 1e-4}
    assert attack(module, one_step(module, inputs, targets), inputs, **settings).psnr > 30
    assert attack(module, one_step(module, inputs, targets, 0.5), inputs, **settings).psnr > 30
    assert attack(module, one_step(module, inputs, targets, 0.5, 1.0), inputs, **settings).psnr < 12
    wrong = attack(module, one_step(module, inputs, targets), inputs, **settings, labels=[(int(targets[0]) + 1) % 10])
    assert wrong.psnr < 20


def test_the_model_is_left_alone_and_equal_seeds_agree(images):
    module, inputs, targets = convolutional(), images[0][:2], images[1][:2]
    update, before = one_step(module, inputs, targets), get_arrays(module)
    found = [
        invert_update(module, update, inputs.shape[1:], 2, targets.tolist(), rng=np.random.default_rng(5), steps=3)
        for _ in range(2)
    ]
    assert np.array_equal(*found)
    assert module.training
    assert all(np.array_equal(before[name], array) for name, array in get_arrays(module).items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_reconstructions_are_matched_to_examples(images):
    inputs = images[0][:5]
    report = score_reconstruction(inputs, inputs[[3, 0, 4, 1, 2]], "analytic")
    assert report.psnr == 120
    assert report.ssim == pytest.approx(1)
    assert np.array_equal(report.reconstruction, report.original)
    assert report.method == "analytic"


@pytest.mark.parametrize("silent", ["1.weight", "1.bias"])
def test_an_update_of_zeros_is_no_division_by_zero(images, silent):
    module, inputs = perceptron(), images[0][:1]
    update = one_step(module, inputs, images[1][:1])
    update[silent] = np.zeros_like(update[silent])
    assert np.isfinite(invert_update(module, update, inputs.shape[1:], rng=np.random.default_rng(0))).all()


def test_what_cannot_be_inverted_is_refused(images):
    module, inputs = perceptron(), images[0][:1]
    update, shape, rng = one_step(module, inputs, images[1][:1]), inputs.shape[1:], np.random.default_rng(0)
    part = {"3.bias": update["3.bias"]}
    blind = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 10, bias=False))
    for call, words in [
        (lambda: invert_update(module, update, shape, 0, rng=rng), "must be at least 1, got 0 and 600"),
        (lambda: invert_update(module, part, shape, rng=rng), "update must hold '1.weight'"),
        (lambda: invert_update(module, part, shape, rng=rng, method="optimized"), "update must hold '1.weight'"),
        (lambda: invert_update(convolutional(), update, shape, rng=rng, method="analytic"), "must be 'optimized'"),
        (lambda: invert_update(blind, update, shape, rng=rng), "labels must be given"),
        (lambda: invert_update(module, update, shape, 1, [1, 2], rng=rng, method="optimized"), "one for each of 1"),
        (lambda: score_reconstruction(inputs, inputs[0]), "of one shape"),
        (lambda: score_reconstruction(inputs, inputs * np.nan), "finite"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
