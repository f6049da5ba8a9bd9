import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from fedcomp.errors import DataError
from fedcomp.tasks import glyphs
from fedcomp.tasks.glyphs import Typefaces
from fedcomp.tasks.sources import typefaces
from fedcomp.tasks.sources.typefaces import draw_typeface

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
NAMES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold")


@pytest.fixture
def task(tmp_path, monkeypatch):
    """The task over five typefaces that matplotlib brings, two of them for the test."""
    for name in NAMES:
        shutil.copy(FONTS / f"{name}.ttf", tmp_path)
    for name in typefaces._DATA.files:
        shutil.move(tmp_path / f"{NAMES[typefaces._DATA.files.index(name)]}.ttf", tmp_path / name)
    monkeypatch.setenv("FEDCOMP_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(glyphs, "_TEST_TYPEFACES", 2)
    return Typefaces()


def test_typefaces_are_held_out_whole_and_each_shows_every_class_once(task):
    train, test = task.train(), task.test()
    assert (train.inputs.shape, test.inputs.shape) == ((186, 1, 28, 28), (124, 1, 28, 28))
    assert train.targets.tolist() == [*range(62)] * 3
    assert not {row.tobytes() for row in train.inputs[::62]} & {row.tobytes() for row in test.inputs[::62]}


def test_a_client_is_a_typeface(task):
    groups, train = task.groups(), task.train()
    assert np.unique(groups, return_counts=True)[1].tolist() == [62] * 3
    for holder in np.unique(groups):
        held = train.inputs[groups == holder, 0].astype(np.float32)
        np.testing.assert_allclose((held + 1) * 127.5, draw_typeface(task._files[holder]), atol=0.1)


def test_models_answer_for_every_class_and_the_student_is_small(task):
    rows, large, small = torch.zeros(2, 1, 28, 28), task.model(0), task.student(0)
    assert large(rows).shape == small(rows).shape == (2, 62)
    sizes = [sum(p.numel() for p in module.parameters()) for module in (large, small)]
    assert sizes[1] < 0.15 * sizes[0]


def test_the_package_has_464_usable_typefaces():
    try:
        task = Typefaces()
        sizes = len(task.train()), len(task.test())
    except DataError as missing:
        pytest.skip(str(missing))
    assert sizes == (384 * 62, 80 * 62)
    assert len(np.unique(task.groups())) == 384
