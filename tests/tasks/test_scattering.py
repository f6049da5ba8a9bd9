import numpy as np
import pytest
import torch

from fedcomp.tasks.scattering import NUM_FEATURES, scatter, scattering_features


def smooth_images(count, seed=0):
    """Random images like pictures: blurred noise in the middle, dark at the edges."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((count, 1, 5, 5), dtype=np.float32))
    middle = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bicubic").clamp(0, 1)
    return torch.nn.functional.pad(middle, (6, 6, 6, 6)).numpy()


def distance(left, right):
    return np.linalg.norm((left - right).reshape(len(left), -1), axis=1)


def test_shape_and_normalisation():
    features = scattering_features(smooth_images(3))
    assert features.shape == (3, NUM_FEATURES)
    assert features.dtype == np.float16
    groups = features.astype(np.float64).reshape(3, 27, -1)
    assert np.abs(groups.mean(axis=2)).max() < 1e-3
    assert groups.std(axis=2).max() < 1.001


def test_same_image_same_features_whatever_the_batch():
    images = smooth_images(101)  # one more than a batch
    together = scattering_features(images)
    np.testing.assert_array_equal(together, scattering_features(images))
    for row in (0, 57, 100):
        np.testing.assert_allclose(scattering_features(images[row : row + 1])[0], together[row], rtol=2e-3, atol=2e-3)


def test_distances_are_not_expanded():
    for left, right in [
        (smooth_images(40, 1), smooth_images(40, 2)),
        (smooth_images(40, 3), smooth_images(40, 3) + np.random.default_rng(4).normal(0, 0.01, (40, 1, 28, 28))),
    ]:
        padded = np.pad((left - right)[:, 0], ((0, 0), (2, 2), (2, 2)), mode="reflect")
        scattered = [scatter(torch.from_numpy(images[:, 0].astype(np.float32))).numpy() for images in (left, right)]
        assert (4 * distance(*scattered) <= distance(padded, 0 * padded) * 1.0001).all()


def test_most_energy_of_a_picture_is_kept():
    images = smooth_images(40)
    kept = (scatter(torch.from_numpy(images[:, 0])).numpy().reshape(40, -1) ** 2).sum(axis=1) * 16
    assert (kept > 0.6 * (images.reshape(40, -1) ** 2).sum(axis=1)).all()


def test_a_small_shift_moves_the_image_more_than_its_coefficients():
    texture = np.random.default_rng(0).random((20, 28, 28), dtype=np.float32)
    shifted = np.roll(texture, 1, axis=2)
    before, after = scatter(torch.from_numpy(texture)).numpy(), scatter(torch.from_numpy(shifted)).numpy()
    zero = np.zeros_like(before)
    moved = distance(before, after) / distance(before, zero)
    assert (moved < 0.3 * distance(texture, shifted) / distance(texture, 0 * texture)).all()


def test_wavelets_ignore_brightness_and_answer_in_proportion_to_contrast():
    images = torch.from_numpy(smooth_images(5)[:, 0])
    expected = 0.6 * scatter(images)
    expected[:, 0] += 0.3
    torch.testing.assert_close(scatter(0.3 + 0.6 * images), expected, rtol=1e-4, atol=1e-5)


def test_a_wave_answers_at_its_own_angle():
    column = np.arange(28)
    wave = np.cos(0.75 * np.pi * column)
    across, down = (torch.tensor(image, dtype=torch.float32) for image in np.broadcast_arrays(wave, wave[:, None]))
    response = scatter(torch.stack([across, down]))[:, 1:9].mean(dim=(2, 3))  # scale 0, eight angles from 0 to pi
    assert response.argmax(dim=1).tolist() == [0, 4]


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"images must be \[n, 1, 28, 28\], got \[2, 28, 28\]"):
        scattering_features(np.zeros((2, 28, 28)))
