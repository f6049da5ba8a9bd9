from dataclasses import dataclass

import numpy as np
import pytest
from torch import nn

from fedcomp.errors import ConfigError
from fedcomp.shrink import registry
from fedcomp.shrink.base import Material, Step, shrink
from fedcomp.shrink.registry import step_from_config


@dataclass(frozen=True)
class Halve(Step):
    id = "halve"
    reads = True
    by: float = 2.0

    def __post_init__(self):
        if self.by <= 0:
            raise ValueError(f"by must be greater than 0, got {self.by}")

    def apply(self, module, material, rng):
        module.weight.data /= self.by
        return module


@dataclass(frozen=True)
class Blind(Halve):
    id = "blind"
    reads = False


def material(data):
    return Material(np.zeros((2, 1), np.float32), None, data, lambda outputs, _: outputs[:, 0])


def ones():
    module = nn.Linear(1, 1)
    nn.init.ones_(module.weight)
    return module


def test_steps_follow_each_other_and_leave_the_module_as_it_came():
    module = ones()
    shrunk = shrink(module, [Halve(), Blind(4.0)], material("public"), np.random.default_rng(0), private=True)
    assert (shrunk.module.weight.item(), module.weight.item()) == (1 / 8, 1.0)
    assert shrunk.steps == (({"id": "halve", "by": 2.0}, "public"), ({"id": "blind", "by": 4.0}, "none"))


def test_private_rows_are_refused_under_a_private_mode_before_anything_is_done():
    with pytest.raises(ConfigError, match="halve: expected public, synthetic or no rows under a private mode"):
        shrink(ones(), [Blind(), Halve()], material("private"), np.random.default_rng(0), private=True)
    rng = np.random.default_rng(0)
    assert shrink(ones(), [Blind()], material("private"), rng, private=True).steps[0][1] == "none"
    assert shrink(ones(), [Halve()], material("private"), rng, private=False).steps[0][1] == "private"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id": "gone"}, "id: expected one of halve, got 'gone'"),
        ({"id": "halve", "bx": 2}, r"halve.bx: expected one of the options by"),
        ({"id": "halve", "by": 0}, "halve: by must be greater than 0, got 0"),
    ],
)
def test_a_step_comes_from_a_config_or_is_refused(config, message, monkeypatch):
    monkeypatch.setattr(registry, "STEPS", {"halve": Halve})
    assert step_from_config(Halve(3.0).config()) == Halve(3.0)
    with pytest.raises(ConfigError, match=message):
        step_from_config(config)
