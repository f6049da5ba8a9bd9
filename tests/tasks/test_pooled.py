"""Pooled features: alike in scale, of one length, each row's from that row alone."""

import numpy as np
import pytest

from fedcomp.tasks import pooled
from fedcomp.tasks.pooled import NUM_POOLED, pooled_features
from tasks.test_scattering import smooth_images


@pytest.fixture(scope="module")
def features():
    return pooled_features(smooth_images(2001)).astype(np.float64)  # one more than a batch


def spread(rows):
    """Return the share of variance that the ten largest of all directions have."""
    values = np.linalg.eigvalsh(np.cov(rows, rowvar=False))[::-1]
    return values[:10].sum() / values.sum()


def test_every_row_has_mean_square_one(features):
    assert features.shape == (2001, NUM_POOLED)
    np.testing.assert_allclose((features**2).mean(axis=1), 1, rtol=2e-3)


def test_a_row_does_not_depend_on_the_others(features):
    images = smooth_images(2001)
    for row in (0, 1999, 2000):
        np.testing.assert_allclose(pooled_features(images[row : row + 1])[0], features[row], rtol=5e-3, atol=1e-2)


def test_whitening_by_noise_spreads_the_variance_of_other_pictures(features):
    unwhitened = pooled._pooled(smooth_images(2001)[:800]).numpy()
    assert spread(features[:800]) < 0.75 * spread(unwhitened)


def test_noise_itself_comes_out_white():
    centre, matrix = pooled._whitening()
    rows = (pooled._pooled(pooled._pink_noise(500)) - centre) @ matrix
    assert rows.mean(dim=0).abs().max() < 0.3  # 500 of the 4,000 rows that made it: some .045 a value
    assert 0.05 < rows.var(dim=0).median() < 1
    assert np.allclose(matrix, matrix.T, atol=1e-4)


def test_blank_images_have_finite_features():
    assert np.isfinite(pooled_features(np.zeros((2, 1, 28, 28), np.float32))).all()


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"images must be \[n, 1, 28, 28\], got \[2, 28, 28\]"):
        pooled_features(np.zeros((2, 28, 28), np.float32))
