"""What comes of a run: how its student is made."""

import numpy as np
import pytest

from audit.token_kit import Backwards
from fedcomp.config import load_config
from fedcomp.outcome import _distil
from fedcomp.plan import make_plan
from fedcomp.tasks.registry import TASKS
from fedcomp.training import get_arrays


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(TASKS, "backwards", lambda _download: Backwards())


def student_and_teacher(start: str):
    student = {"enabled": True, "start": start, "epochs": 1, "batch_size": 32, "learning_rate": 1e-6}
    changed = {f"student.{name}": value for name, value in student.items()}
    plan = make_plan(load_config("configs/digits.toml", {"task": "backwards", "data.public_examples": 64, **changed}))
    teacher = plan.task.model(99).eval()
    return get_arrays(_distil(plan, teacher)), get_arrays(teacher)


@pytest.mark.parametrize(("start", "near"), [("teacher", True), ("scratch", False)])
def test_a_student_of_sequences_starts_where_the_config_says(start, near):
    student, teacher = student_and_teacher(start)
    far = max(float(np.abs(student[name] - values).max()) for name, values in teacher.items())
    assert (far < 1e-3) == near
