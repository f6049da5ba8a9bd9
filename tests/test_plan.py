"""Plans: what fits, what is refused, and that server and client build equal ones."""

import numpy as np
import pytest

from fedcomp.aggregation import UniformMean, WidthMean
from fedcomp.config import config_from_dict
from fedcomp.errors import ConfigError
from fedcomp.plan import make_plan, plan_from_json
from fedcomp.privacy import epsilon

CODECS = {
    "none": [],
    "data dependent": [{"id": "topk", "density": 0.1}, {"id": "uniform", "bit_width": 4}, {"id": "rans"}],
    "public support": [{"id": "random-mask", "density": 0.5}, {"id": "dither", "step_rms": 1.0}, {"id": "rans"}],
}
LOCAL = {
    "mode": "local",
    "target_epsilon": 8.0,
    "delta": 1e-4,
    "sampling_probability": 0.2,
    "nominal_examples": 100,
}
CLIENT = {"mode": "central", "unit": "client", "target_epsilon": 4.0, "delta": 1e-4}


def config(**changes):
    tree = {"task": "digits", "rounds": 4, "student": {"enabled": False}, "clients": {"population": 4}}
    return config_from_dict({**tree, **changes})


def problems(**changes):
    with pytest.raises(ConfigError) as caught:
        make_plan(config(**changes))
    return caught.value.problems


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("mode", ["none", "local"])
def test_built_modes_take_every_codec(mode, codec):
    privacy = LOCAL if mode == "local" else {}
    plan = make_plan(config(privacy=privacy, uplink=CODECS[codec]))
    assert plan.uplink.data_dependent == (codec != "none")
    assert plan.private == (mode == "local")


@pytest.mark.parametrize("codec", CODECS)
def test_modes_that_are_not_built_are_refused(codec):
    assert any("privacy.mode" in p for p in problems(privacy={**LOCAL, "mode": "distributed"}, uplink=CODECS[codec]))


@pytest.mark.parametrize(
    "clients",
    [{"sampling": "bernoulli"}, {"sampling": "fixed"}, {"sampling": "fixed", "cohort": 9}, {"cohort": 2}],
)
@pytest.mark.parametrize("quantile", [None, 0.5])
def test_a_cohort_that_cannot_be_is_a_sentence_under_a_trusted_server(clients, quantile):
    privacy = {"mode": "central", "unit": "client", "target_epsilon": 4.0, "clipping_quantile": quantile}
    assert any(
        "clients.cohort" in problem for problem in problems(privacy=privacy, clients={"population": 4, **clients})
    )


@pytest.mark.parametrize("codec", CODECS)
def test_the_trusted_server_takes_every_codec_of_clients_and_none_of_examples(codec):
    central = {**LOCAL, "mode": "central", "delta": 1e-4}
    plan = make_plan(config(privacy={**central, "unit": "client"}, uplink=CODECS[codec]))
    assert plan.private
    assert plan.central
    if codec == "none":
        assert make_plan(config(privacy=central, uplink=CODECS[codec])).central
    else:
        assert any("cannot clip examples again" in p for p in problems(privacy=central, uplink=CODECS[codec]))


def test_a_weighted_private_mean_is_refused():
    found = problems(privacy=LOCAL, server={"weighting": "examples"})
    assert any("weighted sum" in problem for problem in found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clients": {"population": 4, "cohort": 2}}, "clients.cohort"),
        ({"clients": {"population": 4, "sampling": "fixed"}}, "clients.cohort"),
        ({"clients": {"population": 4, "cohort": 5, "sampling": "fixed"}}, "clients.cohort"),
        ({"training": {"local_steps": 1, "local_epochs": 1}}, "training.local_epochs"),
        ({"student": {"enabled": True}}, "data.public_examples"),
        ({"privacy": {**LOCAL, "nominal_examples": None}}, "privacy.nominal_examples"),
        ({"privacy": {**LOCAL, "delta": 0.02}}, "privacy.delta"),
        ({"privacy": {**LOCAL, "target_epsilon": None}}, "privacy.target_epsilon"),
        ({"privacy": LOCAL, "training": {"local_epochs": 2}}, "training.local_epochs"),
        ({"privacy": LOCAL, "training": {"precision": "bfloat16"}}, "training.precision"),
        ({"privacy": LOCAL, "training": {"momentum": 0.9}}, "training.momentum"),
        ({"uplink": [{"id": "topk", "density": 1.5}]}, "uplink[0].density"),
        ({"downlink": [{"id": "zip"}]}, "downlink[0].id"),
        ({"uplink": [{"id": "importance-topk", "density": 0.1}], "privacy": LOCAL}, "uplink: importance-topk"),
        ({"downlink": [{"id": "importance-topk", "density": 0.1}]}, "downlink: importance-topk"),
        ({"downlink": [{"id": "delta"}]}, "downlink: delta"),
        ({"task": "nowhere"}, "task"),
        (
            {"clients": {"population": 4, "widths": [1.0, 0.5]}, "privacy": CLIENT},
            "clients.widths: expected none under",
        ),
        ({"teacher": {"model": "nowhere.safetensors", "student": "task"}}, "teacher.model: expected the model's file"),
    ],
)
def test_what_does_not_fit_is_named(changes, words):
    assert any(problem.startswith(words) for problem in problems(**changes)), problems(**changes)


def test_all_problems_come_at_once():
    found = problems(privacy={**LOCAL, "nominal_examples": None}, uplink=[{"id": "zip"}], training={"momentum": 0.5})
    assert len(found) >= 3


def test_the_noise_is_calibrated_to_the_target():
    plan = make_plan(config(privacy=LOCAL))
    spent = plan.spent_after(4)
    assert 0.99 * 8 < spent.epsilon <= 8
    assert plan.epsilon_by_round()[-1] == pytest.approx(spent.epsilon)
    assert spent.epsilon == pytest.approx(epsilon([(plan.round_event, 4)], 1e-4))


def test_server_and_client_build_equal_plans_from_the_resolved_config():
    plan = make_plan(config(privacy=LOCAL))
    other = plan_from_json(plan.config.to_json())
    assert other.digest() == plan.digest()
    assert other.round_event == plan.round_event
    assert [list(rows) for rows in other.split_rows[0]] == [list(rows) for rows in plan.split_rows[0]]


def test_shares_and_the_public_slice_are_disjoint():
    plan = make_plan(config(data={"public_examples": 100}))
    shares, public = plan.split_rows
    everything = np.concatenate([*shares, public])
    assert len(np.unique(everything)) == len(everything) == len(plan.task.train())


def test_a_share_smaller_than_a_batch_is_refused_under_privacy():
    plan = make_plan(config(privacy={**LOCAL, "nominal_examples": 5000, "delta": 1e-5}))
    with pytest.raises(ConfigError, match=r"holds .* rows, fewer than a batch"):
        plan.check_shares()


def test_every_client_has_the_width_of_its_number():
    plan = make_plan(config(clients={"population": 5, "widths": [1.0, 0.5, 0.25, 0.5]}))
    assert [plan.width_of(client) for client in range(5)] == [0, 1, 2, 3, 0]
    assert [plan.client_module(client)[0].out_features for client in range(5)] == [32, 16, 8, 16, 32]
    assert plan.narrows[1] is plan.narrows[3]
    assert isinstance(plan.aggregator, WidthMean)


def test_without_widths_nothing_is_narrow():
    for clients in ({"population": 4}, {"population": 4, "widths": [1.0]}):
        plan = make_plan(config(clients=clients))
        assert plan.narrow_of(plan.width_of(3)) is None
        assert isinstance(plan.aggregator, UniformMean)


def write_normed_task(path):
    (path / "normed_task.py").write_text(
        "import numpy as np\n"
        "from torch import nn\n"
        "from fedcomp.tasks import ArrayTask\n"
        "def task():\n"
        "    rows = np.zeros((8, 4), np.float32), np.zeros(8, np.int64)\n"
        "    make = lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))\n"
        "    return ArrayTask('normed', 2, rows, rows, make)\n"
    )


def test_a_model_without_a_narrower_copy_is_refused_by_the_width_that_it_lacks(tmp_path, monkeypatch):
    write_normed_task(tmp_path)
    monkeypatch.chdir(tmp_path)
    (found,) = problems(task="normed_task:task", clients={"population": 4, "widths": [1.0, 0.5]})
    assert found.startswith("clients.widths: the task's model cannot be made 0.5 as wide: ")


def test_a_model_with_batch_norm_is_refused_under_privacy(tmp_path, monkeypatch):
    write_normed_task(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = problems(task="normed_task:task", privacy=LOCAL)
    assert any("'1'" in problem and "BatchNorm" in problem and "GroupNorm" in problem for problem in found), found


def test_a_student_that_has_nothing_of_its_teachers_cannot_start_from_it():
    settings = {"student": {"start": "teacher"}, "data": {"public_examples": 100}}
    (found,) = problems(**settings)
    assert "expected 'scratch', since the student has no array of weights of the same name and shape" in found


def test_an_optimizer_that_a_mode_cannot_have_is_refused():
    training = {"optimizer": "adamw", "learning_rate": 1e-3}
    assert make_plan(config(training=training)).config.training.optimizer == "adamw"
    assert any("training.optimizer: expected sgd" in p for p in problems(training=training, privacy=LOCAL))
    assert any("training.momentum: expected 0" in p for p in problems(training={**training, "momentum": 0.9}))
