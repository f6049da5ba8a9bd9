"""PSNR and SSIM: by their formulas, and in the order that eyes would give."""

import numpy as np
import pytest

from fedcomp.audit.image_quality import psnr, ssim


def picture(side=16):
    rows, columns = np.mgrid[0:side, 0:side] / side
    return 0.5 + 0.4 * np.sin(6 * rows) * np.cos(9 * columns)


def slow_ssim(one, two, width, data_range):
    """The paper's equation 13, window by window."""
    half = width // 2
    steps = np.arange(-half, half + 1)
    window = np.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    small, other, values = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2, []
    for row in range(one.shape[0] - width + 1):
        for column in range(one.shape[1] - width + 1):
            a, b = (each[row : row + width, column : column + width] for each in (one, two))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            shared = (window * (a - mean_a) * (b - mean_b)).sum()
            top = (2 * mean_a * mean_b + small) * (2 * shared + other)
            values.append(top / ((mean_a**2 + mean_b**2 + small) * (var_a + var_b + other)))
    return float(np.mean(values))


@pytest.mark.parametrize(("side", "width"), [(16, 11), (12, 11), (11, 11), (10, 9), (7, 7)])
def test_ssim_is_the_papers(side, width):
    one = picture(side)
    two = np.clip(one + np.random.default_rng(0).normal(0, 0.1, one.shape), 0, 1)
    assert ssim(one, two) == pytest.approx(slow_ssim(one, two, width, 1.0), abs=1e-9)
    assert ssim(2 * one - 1, 2 * two - 1, data_range=2.0) == pytest.approx(
        slow_ssim(2 * one - 1, 2 * two - 1, width, 2.0), abs=1e-9
    )


def test_ssim_of_channels_is_their_mean():
    one, two = np.stack([picture(), 1 - picture()]), np.stack([picture(), picture().T])
    assert ssim(one, two) == pytest.approx((1 + ssim(1 - picture(), picture().T)) / 2)


def test_equal_negative_and_unrelated_pictures():
    one = picture()
    assert ssim(one, one) == pytest.approx(1.0)
    assert ssim(one, 1 - one) < 0
    noise = np.random.default_rng(1).random(one.shape)
    assert abs(ssim(one, noise)) < 0.2
    assert psnr(one, one) == 120.0
    assert psnr(one, noise) < 12


def test_psnr_by_hand():
    zero = np.zeros((3, 3))
    assert psnr(zero, zero + 0.1) == pytest.approx(20.0)
    assert psnr(zero, zero + 0.1, data_range=2.0) == pytest.approx(20.0 + 20 * np.log10(2))
    assert psnr(zero, zero + 1e-12) == 120.0


def test_ssim_sees_what_psnr_does_not():
    """A shift in brightness and noise of one and the same squared error: the structure is left only in the first."""
    one = picture()
    noise = np.random.default_rng(2).normal(size=one.shape)
    shifted, noisy = one + 0.1, one + 0.1 * noise / np.sqrt((noise**2).mean())
    assert psnr(one, shifted) == pytest.approx(psnr(one, noisy))
    assert ssim(one, shifted) > ssim(one, noisy) + 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: psnr(np.zeros(3), np.zeros(4)), r"one shape, got \[3\] and \[4\]"),
        (lambda: psnr(np.zeros(0), np.zeros(0)), r"one shape, got \[0\] and \[0\]"),
        (lambda: psnr(np.zeros(3), np.zeros(3), 0.0), "data_range must be above 0, got 0.0"),
        (lambda: ssim(np.zeros((6, 9)), np.zeros((6, 9))), r"at least 7 pixels a side, got \[6, 9\]"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
