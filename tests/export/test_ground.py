from dataclasses import replace

import numpy as np
import pytest
import torch

from fedcomp.config import config_from_dict
from fedcomp.errors import ConfigError
from fedcomp.export.ground import ground_of, judged_rows
from fedcomp.plan import make_plan
from fedcomp.shrink import save_arrays
from fedcomp.training import get_arrays


def plan(public=400, **changes):
    data, student = {"public_examples": public}, {"enabled": bool(public)}
    tree = {"task": "digits", "data": data, "student": student, "clients": {"population": 2}}
    return make_plan(config_from_dict(tree | changes))


@pytest.fixture
def released(tmp_path):
    save_arrays(tmp_path / "global.safetensors", get_arrays(plan().task.model(3)))
    return tmp_path


def test_public_rows_are_shared_out_between_making_and_judging(released):
    found, again = ground_of(plan(), released), ground_of(plan(), released)
    count = judged_rows(400)
    assert (len(found.judged), len(found.material.inputs)) == (count, 400 - count)
    assert (found.judged_data, found.material.data) == ("public", "public")
    made = {row.tobytes() for row in found.material.inputs}
    assert not made & {row.tobytes() for row in found.judged.inputs}
    np.testing.assert_array_equal(found.judged.inputs, again.judged.inputs)
    assert list(found.origins) == ["dense", "student"]
    assert found.material.teacher is found.origins["dense"]


@pytest.mark.parametrize(
    ("rows", "judged"),
    [(40, 10), (400, 100), (1000, 250), (1200, 450), (1500, 750), (2000, 1000), (4000, 1000), (5000, 1250)],
)
def test_as_many_rows_judge_as_can_be_spared_and_a_quarter_at_least(rows, judged):
    assert judged_rows(rows) == judged


def test_made_up_rows_are_judged_by_the_dense_models_answers(released):
    found = ground_of(plan(public=0), released, made_up_rows=True)
    assert (found.judged_data, found.material.data, found.material.targets) == ("synthetic", "synthetic", None)
    assert len(found.judged) == 1000
    assert len(found.material.inputs) == 2000
    assert found.judged.inputs.shape[1:] == (64,)
    outputs = found.origins["dense"](torch.from_numpy(found.judged.inputs))
    assert found.metric(outputs, torch.from_numpy(found.judged.targets)) == 1.0
    assert found.metric(-outputs, torch.from_numpy(found.judged.targets)) < 0.2
    made = {row.tobytes() for row in found.material.inputs}
    assert not made & {row.tobytes() for row in found.judged.inputs}
    real = {row.tobytes() for row in plan().task.train().inputs}
    assert not real & made


def test_made_up_rows_are_not_made_where_there_are_public_ones(released):
    assert ground_of(plan(), released, made_up_rows=True).judged_data == "public"


def test_private_rows_are_read_where_nothing_is_claimed_and_refused_where_it_is(released):
    assert ground_of(plan(public=0), released, private_rows=True).judged_data == "private"
    private = {"mode": "local", "target_epsilon": 8.0, "sampling_probability": 0.1, "nominal_examples": 700}
    claimed = plan(public=0, privacy=private)
    with pytest.raises(ConfigError, match=r"got 0; a private mode's rows are nobody's .*--made-up-rows needs none"):
        ground_of(claimed, released, private_rows=True)
    assert ground_of(claimed, released, made_up_rows=True).private


def test_without_rows_both_ways_out_are_named_and_not_both_taken(released):
    with pytest.raises(ConfigError, match=r"at least 40 public rows .* got 0; or pass --private-rows; --made-up-rows"):
        ground_of(plan(public=0), released)
    with pytest.raises(ConfigError, match="--made-up-rows: expected it without --private-rows, got both"):
        ground_of(plan(public=0), released, private_rows=True, made_up_rows=True)


def test_rows_of_tokens_cannot_be_made_up(released):
    class Tokens:
        def __getattr__(self, name):
            return getattr(plan().task, name)

        def train(self):
            rows = np.zeros((3, 64), np.int64)
            return replace(plan().task.train(), inputs=rows, raw=rows, targets=np.zeros(3, np.int64))

    tokens = replace(plan(public=0), task=Tokens())
    with pytest.raises(ConfigError, match="--made-up-rows: expected a task of floating point rows, got int64"):
        ground_of(tokens, released, made_up_rows=True)
