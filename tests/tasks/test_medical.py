import numpy as np
import pytest
import torch

from fedcomp.errors import DataError
from fedcomp.tasks.medical import LungNodules
from tasks.lung_files import square, write_database


@pytest.fixture
def task(tmp_path, monkeypatch):
    """Twelve patients with three readings each: a small one that looks benign, a large one, an undecided one."""
    readings = [
        (patient, 1.0, malignancy, [(0.0, 1, square(side + patient % 3))])
        for patient in range(1, 1100, 92)
        for side, malignancy in ((4, 1 + patient % 2), (15, 4 + patient % 2), (9, 3))
    ]
    write_database(tmp_path, monkeypatch, readings)
    return LungNodules()


def test_undecided_readings_are_left_out_and_patients_are_held_out_whole(task):
    train, test = task.train(), task.test()
    assert train.inputs.shape == (18, 1, 32, 32)
    assert len(test) == 6
    held_out = task._held_out
    assert not set(task._patients[held_out]) & set(task._patients[~held_out])


def test_class_1_is_the_malignant_look(task):
    for part in (task.train(), task.test()):
        sizes = np.asarray(part.inputs, dtype=np.float32).mean(axis=(1, 2, 3))
        assert sizes[part.targets == 1].min() > sizes[part.targets == 0].max()


def test_clients_are_ten_sites_of_consecutive_patients(task):
    patients = task._patients[~task._held_out]
    np.testing.assert_array_equal(task.groups(), (patients - 1) // 102)


def test_pictures_are_drawn_once_a_machine(task, monkeypatch):
    first = task.train()
    monkeypatch.setattr("fedcomp.tasks.medical.draw_reading", lambda reading: pytest.fail("it was drawn again"))
    np.testing.assert_array_equal(LungNodules().train().inputs, first.inputs)


def test_the_student_is_a_small_model_of_the_same_kind(task):
    rows = torch.zeros(3, 1, 32, 32)
    large, small = task.model(0), task.student(0)
    assert large(rows).shape == small(rows).shape == (3, 2)
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (large, small)]
    assert sizes[1] < 0.15 * sizes[0]


def test_auc_is_of_the_margin_between_the_classes(task):
    outputs = torch.tensor([[5.0, 4.0], [0.0, 1.0], [2.0, 2.0]])
    assert task.auc(outputs, torch.tensor([0, 1, 1])) == 1.0
    assert task.auc(outputs, torch.tensor([1, 0, 0])) == 0.0


def test_the_package_has_4253_clear_readings_of_828_patients():
    try:
        task = LungNodules()
    except DataError as missing:
        pytest.skip(str(missing))
    train, test = task.train(), task.test()
    assert (len(train), len(test)) == (3261, 992)
    assert len(np.unique(task._patients)) == 828
    assert np.bincount(task._patients).max() == 35
    assert np.bincount(task.groups()).tolist() == [362, 471, 222, 336, 378, 269, 317, 281, 354, 271]
    area = torch.from_numpy(np.asarray(test.inputs, dtype=np.float32)).mean(dim=(1, 2, 3))
    by_size = task.auc(torch.stack([-area, area], dim=1), torch.from_numpy(test.targets))
    assert 0.8 < by_size < 0.9  # most of what outlines tell is how large the nodule is
