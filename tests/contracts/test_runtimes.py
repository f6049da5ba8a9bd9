"""One suite for every runtime: what it builds answers as the module does, in every number format that it offers."""

import copy
import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.runtimes.base import ExportError, relative_error
from fedcomp.runtimes.registry import RUNTIMES

LARGEST = {"fp32": 1e-3, "fixed16": 1e-3, "float16": 1e-2, "bfloat16": 3e-2, "int4-weight": 0.3}
"""Relative errors; other formats are 8 bits."""
EIGHT_BITS = 0.08


class Small(nn.Module):
    """A convolution with a residual branch, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.hidden, self.out = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        stem = self.stem(rows).relu()
        top = (stem + self.branch(stem)).relu().mean((2, 3))
        return self.out(self.hidden(self.dropout(top)).relu())


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(30, 16), nn.Linear(16, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(self.table(tokens))


def seeded(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return kind()


IMAGES = np.random.default_rng(0).standard_normal((16, 2, 6, 6)).astype(np.float32)
SLOW = {"executorch", "openvino"}  # seconds for every export, and optional


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in RUNTIMES],
)
def engine(request):
    found = RUNTIMES[request.param]
    if (command := found.missing()) is not None:
        pytest.skip(command)
    return found


@pytest.fixture(scope="module")
def built(engine):
    """The module as it was, as it is after the builds, and the files, by number format."""
    module = seeded(Small)
    before, state = copy.deepcopy(module), torch.random.get_rng_state()
    files = dict(engine.build_all(module, IMAGES, engine.formats))
    assert torch.equal(torch.random.get_rng_state(), state), "torch's generator was used"
    return before, module, files


def test_every_format_answers_as_the_module_within_its_error(engine, built):
    _, module, files = built
    assert list(files) == list(engine.formats)
    for number_format, content in files.items():
        assert isinstance(content, bytes), f"{number_format}: {content}"
        error = relative_error(module, engine.open(content), IMAGES)
        assert error <= LARGEST.get(number_format, EIGHT_BITS), number_format


def test_batches_of_any_size(engine, built):
    _, module, files = built
    for number_format in ("fp32", "int8-static"):
        program = engine.open(files[number_format])
        for count in (1, 3, 40):
            rows = np.random.default_rng(count).standard_normal((count, 2, 6, 6)).astype(np.float32)
            assert relative_error(module, program, rows) <= LARGEST.get(number_format, EIGHT_BITS)


def test_answers_stay_when_the_program_is_called_again(engine, built):
    program = engine.open(built[2]["fp32"])
    first = program(IMAGES[:2])
    kept = first.copy()
    program(IMAGES[2:4])
    np.testing.assert_array_equal(first, kept)


def test_the_module_is_left_as_it_came(built):
    before, module, _ = built
    assert module.training
    for (name, was), now in zip(before.state_dict().items(), module.state_dict().values(), strict=True):
        assert torch.equal(was, now), name


def test_smaller_formats_are_smaller(engine, built):
    files = built[2]
    assert all(len(files[name]) < len(files["fp32"]) for name in engine.formats if name in ("float16", "fixed8"))


@pytest.mark.slow
def test_only_calibrated_formats_depend_on_the_rows(engine, built):
    others = dict(engine.build_all(built[1], IMAGES[::-1] * 3, engine.formats))
    changed = {name for name in engine.formats if others[name] != built[2][name]}
    assert changed == engine.calibrated


def test_tokens(engine):
    module = seeded(Tokens)
    rows = np.random.default_rng(0).integers(0, 30, (6, 7))
    assert relative_error(module, engine.open(engine.build(module, rows)), rows) <= 1e-3


def test_what_is_no_such_file_is_refused(engine):
    with pytest.raises(ExportError, match="cannot open the file"):
        engine.open(b"nothing of the kind")


@pytest.mark.parametrize("name", RUNTIMES)
def test_what_a_runtime_says_of_itself(name):
    engine = RUNTIMES[name]
    assert engine.name == name
    assert engine.suffix.startswith(".")
    assert engine.formats[0] == "fp32"
    assert engine.calibrated <= set(engine.formats)
    with pytest.raises(ValueError, match=f"number_format must be one of {', '.join(engine.formats)}, got 'int3'"):
        engine.build(nn.Linear(1, 1), np.ones((2, 1), np.float32), "int3")


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_missing_runtime_names_the_command_that_installs_it(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    engine = RUNTIMES[name]
    command = engine.missing()
    assert "pip install" in command
    with pytest.raises(ExportError) as raised:
        engine.open(b"")
    assert "pip install" in str(raised.value)
