"""Students that start from their teachers."""

import itertools

import pytest
import torch
from torch import nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.distillation.start import started_from
from fedcomp.tasks.models.transformer import Transformer, TransformerShape


def stack(*widths: int) -> nn.Module:
    return nn.Sequential(*[nn.Linear(*pair) for pair in itertools.pairwise(widths)])


def test_what_fits_is_the_teachers_and_the_rest_is_the_students_own():
    student, teacher = stack(4, 6, 3), stack(4, 6, 6, 3)
    started = started_from(student, teacher)
    assert torch.equal(started[0].weight, teacher[0].weight)
    assert torch.equal(started[1].weight, student[1].weight)


def test_both_are_left_alone():
    student, teacher = stack(4, 6, 3), stack(4, 6, 6, 3)
    before = student[0].weight.clone()
    started = started_from(student, teacher)
    with torch.no_grad():
        started[0].weight.zero_()
    assert torch.equal(student[0].weight, before)
    assert teacher[0].weight.abs().sum() > 0


def test_a_transformer_with_a_shallow_decoder_has_its_teachers_first_layers():
    sizes = {"vocabulary": 20, "source_length": 5, "target_length": 5, "pad": 0, "width": 8, "heads": 2, "hidden": 16}
    student = Transformer(TransformerShape(**sizes, encoder_layers=2, decoder_layers=1))
    teacher = Transformer(TransformerShape(**sizes, encoder_layers=2, decoder_layers=2))
    given, started = teacher.state_dict(), started_from(student, teacher).state_dict()
    assert all(torch.equal(given[name], value) for name, value in started.items())


def test_students_with_nothing_in_common_are_refused():
    with pytest.raises(ShrinkError, match="no array of weights of the same name and shape"):
        started_from(stack(4, 5, 3), stack(4, 6, 6, 3))
