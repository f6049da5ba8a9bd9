"""The loss of a student."""

import numpy as np
import pytest
import torch

from fedcomp.shrink.distillation import distillation_loss


def test_loss_is_zero_at_the_teacher_and_its_gradient_keeps_its_size():
    logits = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 0.2]])
    assert float(distillation_loss(logits, logits, 3.0)) == pytest.approx(0.0, abs=1e-6)
    sizes = []
    for temperature in (50.0, 100.0):
        outputs = torch.zeros(2, 3, requires_grad=True)
        distillation_loss(outputs, logits, temperature).backward()
        sizes.append(float(outputs.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_loss_by_hand():
    student_logits, teacher_logits = torch.tensor([[0.0, 0.0]]), torch.tensor([[2 * np.log(3.0), 0.0]])
    expected = 4 * (0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5))
    assert float(distillation_loss(student_logits, teacher_logits, 2.0)) == pytest.approx(expected, rel=1e-5)


def test_padding_counts_for_nothing_and_all_else_as_rows_of_their_own():
    student, teacher = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, 5)
    counted = torch.tensor([[True, True, False], [True, False, False]])
    spoiled = torch.where(counted[..., None], student, 1e6)
    expected = distillation_loss(student[counted], teacher[counted], 2.0)
    assert torch.equal(distillation_loss(spoiled, teacher, 2.0, counted), expected)
    assert float(distillation_loss(student, teacher, 2.0, torch.zeros(2, 3, dtype=torch.bool))) == 0.0
