"""Versions of images."""

import numpy as np

from fedcomp.shrink.distillation.versions import image_versions


def test_versions_are_shifts_and_every_second_of_them_is_mixed():
    images = np.random.default_rng(0).random((40, 2, 9, 9)).astype(np.float16)
    first, second, third = image_versions(images, 3, np.random.default_rng(1))
    np.testing.assert_array_equal(first, images.astype(np.float32))
    assert first.dtype == second.dtype == third.dtype == np.float32
    found = {shift_of(before, after) for before, after in zip(first, second, strict=True)}
    assert None not in found
    assert found == {(down, right) for down in range(3) for right in range(3)}
    assert {shift_of(before, after) for before, after in zip(first, third, strict=True)} == {None}


def shift_of(image: np.ndarray, version: np.ndarray) -> tuple[int, int] | None:
    """Return by how much the inner part was moved, or None if it is no shift of the image."""
    for down in range(3):
        for right in range(3):
            if np.array_equal(image[:, down : down + 7, right : right + 7], version[:, 1:-1, 1:-1]):
                return down, right
    return None


def test_rows_that_are_not_images_have_one_version_and_tokens_stay_whole_numbers():
    for rows, dtype in ((np.ones((3, 8), np.float16), np.float32), (np.ones((3, 8, 2, 2), np.int64), np.int64)):
        (only,) = image_versions(rows, 4, np.random.default_rng(0))
        assert only.dtype == dtype
        np.testing.assert_array_equal(only, rows)
