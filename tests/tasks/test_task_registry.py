import sys

import pytest

from fedcomp.errors import ConfigError, DataError
from fedcomp.tasks import load_task
from fedcomp.tasks.registry import TASKS
from fedcomp.tasks.sources.python_package import WheelData

MODULE = """
import numpy as np
from torch import nn
from fedcomp.tasks import ArrayTask

def blobs():
    rows = np.eye(4), np.arange(4)
    return ArrayTask("blobs", 4, rows, rows, make_model=lambda: nn.Linear(4, 4))

def number():
    return 3

value = 4
"""


@pytest.fixture(autouse=True)
def users_folder(tmp_path, monkeypatch):
    (tmp_path / "users_tasks.py").write_text(MODULE)
    (tmp_path / "users_broken.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("users_tasks", None)


def test_a_users_own_task_is_imported_from_the_current_directory():
    path = list(sys.path)
    task = load_task("users_tasks:blobs")
    assert (task.name, len(task.train())) == ("blobs", 4)
    assert sys.path == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mnist",
            r"expected one of digits, fashion-mnist-cnn, .*, typefaces, or module:function, got 'mnist'",
        ),
        ("users_tasks:", "or module:function, got 'users_tasks:'"),
        (":blobs", "or module:function, got ':blobs'"),
        ("no_such_module:task", "expected a module 'no_such_module' that can be imported from"),
        ("users_broken:task", "a_module_that_is_not_there"),
        ("users_tasks:absent", "expected a function 'absent' in module 'users_tasks', got None"),
        ("users_tasks:value", "expected a function 'value' in module 'users_tasks', got 4"),
        ("users_tasks:number", r"expected users_tasks:number to return a fedcomp\.tasks\.Task, got int"),
    ],
)
def test_a_name_that_gives_no_task_is_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        load_task(name)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_registered_name_is_its_tasks_or_says_what_brings_its_data(name, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(WheelData, "installed", lambda data: None)
    try:
        answer = load_task(name).name
    except DataError as missing:
        answer = str(missing)
    assert answer == name or "run `" in answer
