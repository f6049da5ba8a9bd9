"""Fusion as an aggregator: what becomes of a round's updates, what is kept of them, and which configs are refused."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from fedcomp.aggregation import AggregationError, ExampleWeightedMean, UniformMean
from fedcomp.arrays import add, digest, fp32_bytes
from fedcomp.config import config_from_dict
from fedcomp.errors import ConfigError
from fedcomp.plan import make_plan
from fedcomp.plan.fusion import Fusion, make_fusion
from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.distillation.ensemble import EnsembleTeacher
from fedcomp.shrink.registry import STEPS
from fedcomp.tasks import ArrayTask
from fedcomp.tasks.registry import TASKS
from fedcomp.training import get_arrays, set_arrays, train_plain
from teachers import Thin, dense_file

LOCAL = {"mode": "local", "target_epsilon": 8.0, "delta": 1e-4, "sampling_probability": 0.2, "nominal_examples": 100}
CENTRAL = {"mode": "central", "unit": "client", "target_epsilon": 4.0, "delta": 1e-4}


def config(fusion=None, **changes):
    tree = {
        "task": "digits",
        "rounds": 4,
        "student": {"enabled": False},
        "clients": {"population": 4},
        "data": {"public_examples": 200, "partition": "dirichlet", "alpha": 0.1},
        "fusion": {"steps": 30, "batch_size": 50} | (fusion or {}),
    }
    return config_from_dict({**tree, **changes})


def fusion_of(*args, **changes):
    plan = make_plan(config(*args, **changes))
    return plan, make_fusion(plan).in_round(1)


def trained(plan, client, seed=0):
    """Return the update of a client that has trained long on its own rows."""
    return train_plain(
        plan.client_module(client),
        plan.client_split(client),
        loss=plan.task.loss,
        batch_size=32,
        learning_rate=0.2,
        local_epochs=10,
        rng=np.random.default_rng(seed),
    ).update


def folded(fusion, like, updates):
    state = fusion.init(like)
    for update in updates:
        state = fusion.accumulate(state, update)
    return state


@pytest.fixture(scope="module")
def skewed():
    """A plan, its fusion, its initial model, and updates of four clients with a few classes each."""
    plan, fusion = fusion_of()
    return plan, fusion, plan.initial_model(), [trained(plan, client) for client in range(4)]


def module_of(plan, *arrays):
    module, total = plan.task.model(plan.model_seed()).eval(), arrays[0]
    for more in arrays[1:]:
        total = add(total, more)
    set_arrays(module, total)
    return module


def test_the_update_leads_from_the_average_towards_what_the_client_models_answer(skewed):
    plan, fusion, model, updates = skewed
    fused, report = fusion.fuse(folded(fusion, model, updates))
    assert report["models"] == 4
    assert report["loss_after"] < report["loss_before"] / 2
    mean = folded(UniformMean(), model, updates)
    average = UniformMean().finish(mean)
    rows = fusion.lesson.versions[0]
    ensemble = EnsembleTeacher([module_of(plan, model, update) for update in updates], "none")(rows)

    def distance(update):
        answers = module_of(plan, model, update)(rows).detach().log_softmax(-1)
        return float(nn.functional.kl_div(answers, ensemble.log_softmax(-1), reduction="batchmean", log_target=True))

    assert distance(average) == pytest.approx(report["loss_before"], rel=1e-3)
    assert distance(fused) == pytest.approx(report["loss_after"], rel=1e-3)


def test_no_public_row_is_a_clients_and_no_label_of_one_is_read(skewed):
    plan, fusion, *_ = skewed
    shares, public = plan.split_rows
    assert not set(public) & set(np.concatenate(shares))
    assert np.array_equal(fusion.lesson.versions[0].numpy(), plan.task.train().inputs[public])
    assert fusion.lesson.targets is None


def test_the_order_of_arrival_changes_no_bit_and_the_round_does(skewed):
    _, fusion, model, updates = skewed
    first = digest(fusion.finish(folded(fusion, model, updates)))
    assert first == digest(fusion.finish(folded(fusion, model, updates[::-1])))
    assert first != digest(fusion.in_round(2).finish(folded(fusion, model, updates)))


def test_answers_have_equal_weights_where_updates_have_not():
    plan, fusion = fusion_of(server={"weighting": "examples"})
    assert isinstance(fusion.inner, ExampleWeightedMean)
    model, updates = plan.initial_model(), [trained(plan, client) for client in (0, 1)]
    sums = []
    for weights in ((1, 1), (1, 900)):
        state = fusion.init(model)
        for update, weight in zip(updates, weights, strict=True):
            state = fusion.accumulate(state, update, weight)
        sums.append(state)
    assert np.array_equal(sums[0].answers.totals, sums[1].answers.totals)
    first, second = (fusion.inner.finish(state.mean) for state in sums)
    assert digest(first) != digest(second)


def test_rounds_in_which_it_is_not_due_have_the_mean_alone():
    plan = make_plan(config({"every": 3}))
    fusion = make_fusion(plan)
    due = [isinstance(fusion.in_round(number), Fusion) for number in range(1, 8)]
    assert due == [False, False, True, False, False, True, False]
    assert fusion.in_round(1) is plan.aggregator


def test_without_the_section_there_is_none():
    assert make_fusion(make_plan(config_from_dict({"task": "digits", "student": {"enabled": False}}))) is None


def test_models_of_several_widths_are_fused_into_the_whole_one():
    plan, fusion = fusion_of(clients={"population": 4, "widths": [1.0, 0.5, 0.25]})
    model, updates = plan.initial_model(), []
    for client in range(3):
        narrow, module = plan.narrow_of(plan.width_of(client)), plan.client_module(client)
        set_arrays(module, narrow.slices.take(model) if narrow else model)
        split = plan.client_split(client)
        options = {"batch_size": 32, "learning_rate": 0.2, "local_epochs": 5, "rng": np.random.default_rng(0)}
        updates.append(train_plain(module, split, loss=plan.task.loss, **options).update)
    assert len({update["0.bias"].shape for update in updates}) == 3
    modules = []
    for client, update in enumerate(updates):
        narrow = plan.narrow_of(plan.width_of(client))
        modules.append(narrow.module() if narrow else plan.task.model(0))
        set_arrays(modules[-1], add(narrow.slices.take(model) if narrow else model, update))
    state = folded(fusion, model, updates)
    rows = fusion.lesson.versions[0]
    np.testing.assert_allclose(state.answers.mean(), EnsembleTeacher(modules, "none")(rows), rtol=1e-4, atol=1e-5)
    fused, report = fusion.fuse(state)
    assert report["loss_after"] < report["loss_before"]
    assert {name: array.shape for name, array in fused.items()} == {n: a.shape for n, a in model.items()}


def test_weights_that_a_teachers_steps_took_out_are_not_used_by_what_is_distilled(tmp_path, monkeypatch):
    monkeypatch.setitem(STEPS, "thin", Thin)
    teacher = {"model": dense_file(tmp_path, mode="none"), "steps": [{"id": "thin"}]}
    plan, fusion = fusion_of(teacher=teacher)
    model = plan.initial_model()
    updates = [plan.thinned(trained(plan, client)) for client in range(2)]
    fused, report = fusion.fuse(folded(fusion, model, updates))
    student = module_of(plan, model, plan.thinned(fused))
    assert student(fusion.lesson.versions[0]).shape == (200, 10)
    assert plan.masks
    zero = ~plan.masks["0.weight"]
    assert np.abs(fused["0.weight"][zero]).max() < 2e-3, "no more than what the last steps of Adam have added"
    assert report["loss_after"] < report["loss_before"]


BAD = {
    "NaN": (lambda array: np.full_like(array, np.nan), "'0.bias': expected finite values, got NaN or infinity"),
    "shape": (lambda array: array[:-1], r"'0.bias': expected float32\[32\], got float32\[31\]"),
    "answers": (lambda array: np.full_like(array, 1e30), "finite logits of at most 65536|must sum to at most"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_update_is_refused_by_name_and_changes_nothing(fault, skewed):
    _, fusion, model, updates = skewed
    spoil, said = BAD[fault]
    state = fusion.accumulate(fusion.init(model), updates[0])
    before, heard = fusion.inner.finish(state.mean), state.answers.totals.copy()
    with pytest.raises(AggregationError, match=said):
        fusion.accumulate(state, {**updates[1], "0.bias": spoil(updates[1]["0.bias"])})
    with pytest.raises(AggregationError, match="num_examples must be 1"):
        fusion.accumulate(state, updates[1], 2)
    assert digest(fusion.inner.finish(state.mean)) == digest(before)
    assert np.array_equal(state.answers.totals, heard)


def test_nothing_to_fuse_is_refused(skewed):
    _, fusion, model, _ = skewed
    with pytest.raises(AggregationError, match="expected at least one update to aggregate, got none"):
        fusion.finish(fusion.init(model))


def test_training_that_diverges_is_refused_with_the_round():
    plan, fusion = fusion_of({"learning_rate": 1e37})
    with pytest.raises(ShrinkError, match=r"fusion in round 1: .*expected a finite loss"):
        fusion.finish(folded(fusion, plan.initial_model(), [trained(plan, 0)]))


def test_one_client_model_is_in_memory_at_a_time(skewed):
    def make():
        return nn.Sequential(nn.Linear(64, 4000), nn.Tanh(), nn.Linear(4000, 10))

    fusion, model = replace(skewed[1], make_model=make), get_arrays(make())

    def peak(count):
        tracemalloc.start()
        try:
            folded(fusion, model, ({name: np.copy(array) for name, array in model.items()} for _ in range(count)))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(12) - peak(2) < fp32_bytes(model), "less than one more update"


def problems(*args, **changes):
    with pytest.raises(ConfigError) as caught:
        make_plan(config(*args, **changes))
    return caught.value.problems


@pytest.mark.parametrize("mode", ["central", "distributed"])
def test_modes_whose_client_models_are_not_released_are_refused_with_the_reason(mode):
    found = problems(privacy={**CENTRAL, "mode": mode})
    said = "fusion: privacy.mode: expected none or local to learn from client models: they are released nowhere"
    assert any(problem.startswith(said) for problem in found), found


def test_noised_client_models_may_be_used():
    assert make_fusion(make_plan(config(privacy=LOCAL))) is not None


@pytest.mark.parametrize("rows", [0, 49])
def test_too_few_public_rows_are_refused(rows):
    (found,) = problems(data={"public_examples": rows})
    assert found.startswith("data.public_examples: expected at least fusion.batch_size = 50 rows for the model")
    assert found.endswith(f"got {rows}")


@pytest.mark.parametrize(
    ("name", "make_model", "said"),
    [
        (
            "many",
            lambda: nn.Linear(4, 2**19),
            "data.public_examples: expected at most 128 for sums of 524288 logits a row, got 200",
        ),
        (
            "flat",
            lambda: nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)),
            "fusion: the task's model: expected logits [1, classes] or [1, length, classes], got [1]",
        ),
    ],
)
def test_models_whose_answers_cannot_be_averaged_are_refused(name, make_model, said, monkeypatch):
    rows = np.zeros((400, 4), np.float32), np.arange(400) % 2
    monkeypatch.setitem(TASKS, name, lambda _download: ArrayTask(name, 2, rows, rows, make_model))
    assert problems(task=name, data={"public_examples": 200}) == (said,)
