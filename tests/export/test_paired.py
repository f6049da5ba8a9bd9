import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from fedcomp.export.paired import paired_loss, right_rows, widened


def accuracy(outputs, targets):
    return float((outputs.argmax(dim=1) == targets).double().mean())


def test_rows_are_right_or_wrong_and_average_to_the_metric():
    outputs = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    targets = np.random.default_rng(1).integers(3, size=50)
    right = right_rows(outputs, targets, accuracy)
    assert set(right) == {0.0, 1.0}
    assert right.mean() == pytest.approx(accuracy_score(targets, outputs.argmax(axis=1)))


def test_a_known_pair_of_models_has_the_interval_of_mcnemar():
    # 100 rows: 6 only the dense model has right, 2 only the small one
    dense = np.array([1.0] * 90 + [1.0] * 6 + [0.0] * 2 + [0.0] * 2)
    small = np.array([1.0] * 90 + [0.0] * 6 + [1.0] * 2 + [0.0] * 2)
    found = paired_loss(dense, small)
    assert found.points == pytest.approx(4.0)
    deviation = np.sqrt((8 - 100 * 0.04**2) / 99) * 100 / 10  # of the mean difference, in points
    assert found.interval == pytest.approx((4 - 1.959964 * deviation, 4 + 1.959964 * deviation))


def test_equal_models_lose_nothing_for_sure():
    rows = np.array([1.0, 0.0, 1.0])
    assert paired_loss(rows, rows).interval == (0.0, 0.0)


@pytest.mark.parametrize("sizes", [(3, 2), (1, 1), (0, 0)])
def test_other_rows_are_refused(sizes):
    with pytest.raises(ValueError, match="scores of the same 2 or more rows"):
        paired_loss(np.ones(sizes[0]), np.ones(sizes[1]))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        dense = rng.random(500) < 0.9
        small = np.where(rng.random(500) < 0.1, rng.random(500) < 0.6, dense)  # true loss: 3 points
        low, high = paired_loss(dense.astype(float), small.astype(float)).interval
        covered += low <= 3.0 <= high
    assert 0.91 <= covered / 400 <= 0.98


def test_the_interval_of_one_of_many_is_wider_and_of_one_alone_the_same():
    assert widened((1.0, 3.0), 1) == pytest.approx((1.0, 3.0))
    low, high = widened((1.0, 3.0), 20)
    assert (low, high) == pytest.approx((2 - 3.023341 / 1.959964, 2 + 3.023341 / 1.959964))  # of a share of .05 / 20
    with pytest.raises(ValueError, match="candidates must be at least 1, got 0"):
        widened((1.0, 3.0), 0)


def test_the_widened_interval_holds_for_the_candidate_that_looks_best():
    rng = np.random.default_rng(0)
    narrow = wide = 0
    for _ in range(300):
        dense = rng.random(300) < 0.8
        small = np.where(rng.random((12, 300)) < 0.15, rng.random((12, 300)) < 0.6, dense)  # true loss: 3 points
        found = [paired_loss(dense.astype(float), each.astype(float)) for each in small]
        best = min(found, key=lambda each: each.points)
        narrow += best.interval[0] <= 3.0 <= best.interval[1]
        wide += widened(best.interval, 12)[0] <= 3.0 <= widened(best.interval, 12)[1]
    assert narrow / 300 < 0.9  # the best of twelve was lucky
    assert wide / 300 > 0.95 - 0.02
