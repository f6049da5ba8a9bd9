"""A student with its teacher beside it: what is seen of either, what it is trained by, and how it is clipped."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fedcomp.privacy import PoissonSampler
from fedcomp.shrink.taught import FrozenTeacher, TaughtTask, bare, beside
from fedcomp.tasks.digits import digits
from fedcomp.training import choose_engine, clipped_gradient_sum, get_arrays, set_arrays, train_plain
from fedcomp.training.probe import clip_rows, example_gradients
from teachers import dense_arrays


def dense():
    model = digits().model(0)
    set_arrays(model, dense_arrays())
    return model


def taught(temperature=4.0, weight=0.7):
    return TaughtTask(digits(), digits().student_network, FrozenTeacher(dense()), temperature, weight)


def rows_of(count):
    split = digits().train().take(np.arange(count))
    return torch.from_numpy(split.inputs), torch.from_numpy(split.targets)


def test_both_answer_in_training_and_the_student_alone_in_evaluation():
    module, (rows, _) = taught().model(1), rows_of(5)
    module.eval()
    assert torch.equal(module(rows), bare(module)(rows))
    both = module.train()(rows)
    assert both.shape == (5, 20)
    assert torch.equal(both[:, :10], bare(module)(rows))
    assert torch.equal(both[:, 10:], dense().eval()(rows))


def test_the_teacher_is_in_no_state_and_arrays_have_the_students_names():
    module = taught().model(1)
    assert list(get_arrays(module)) == list(get_arrays(digits().student(1)))
    assert sum(value.numel() for value in module.state_dict().values()) == 16 * 65 + 10 * 17
    set_arrays(digits().student(2), get_arrays(module))
    assert [name for name, _ in module.named_modules()] == ["", "0", "1", "2"]


def test_a_teacher_is_copied_once_stays_in_eval_mode_and_never_learns():
    model = nn.Sequential(nn.Linear(64, 10), nn.Dropout(0.5))
    teacher = FrozenTeacher(model)
    module = beside(nn.Linear(64, 10), teacher)
    with torch.no_grad():
        model[0].weight.zero_()
    rows, _ = rows_of(4)
    answers = [each.train()(rows)[:, 10:] for each in (module, module, copy.deepcopy(module))]
    assert all(torch.equal(answers[0], answer) for answer in answers)
    assert answers[0].abs().sum() > 0
    assert copy.deepcopy(teacher) is teacher
    loss = module(rows)[:, 10:].sum() + 0 * module.weight.sum()
    assert torch.autograd.grad(loss, [module.weight])[0].abs().sum() == 0


def test_training_leaves_the_teacher_as_it_was():
    task, (rows, _) = taught(), rows_of(8)
    module = task.model(1)
    before = module.train()(rows).detach()
    train_plain(
        module,
        task.train(),
        loss=task.loss,
        batch_size=64,
        learning_rate=0.1,
        local_steps=5,
        rng=np.random.default_rng(0),
    )
    after = module.train()(rows).detach()
    assert torch.equal(before[:, 10:], after[:, 10:])
    assert not torch.equal(before[:, :10], after[:, :10])


def test_the_loss_is_the_weighted_sum_of_imitation_and_task_by_example():
    student, teacher = torch.randn(6, 10), torch.randn(6, 10)
    targets = torch.arange(6)
    found = taught(temperature=3.0, weight=0.25).loss(torch.cat([student, teacher], dim=1), targets)
    expected = []
    for one, other, target in zip(student, teacher, targets, strict=True):
        p, q = torch.softmax(other / 3, dim=0), torch.softmax(one / 3, dim=0)
        imitation = float((p * (p.log() - q.log())).sum()) * 9
        expected.append(0.25 * imitation + 0.75 * float(functional.cross_entropy(one[None], target[None])))
    assert found.shape == (6,)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_whoever_answers_like_the_teacher_pays_nothing_to_it():
    logits = torch.randn(4, 10)
    assert (
        taught(weight=1.0).loss(torch.cat([logits, logits], dim=1), torch.zeros(4, dtype=torch.int64)).abs().max()
        < 1e-6
    )


def test_students_answers_alone_are_judged_as_the_task_judges_them():
    task, (rows, targets) = taught(), rows_of(12)
    module = task.model(1)
    alone, both = module.eval()(rows), module.train()(rows)
    assert torch.equal(task.loss(alone, targets), digits().loss(alone, targets))
    assert task.metric(alone, targets) == task.metric(both, targets) == digits().metric(alone, targets)


@pytest.mark.parametrize(("temperature", "weight"), [(0.0, 0.5), (2.0, 0.0), (2.0, 1.1), (float("nan"), 0.5)])
def test_settings_out_of_range_are_refused(temperature, weight):
    with pytest.raises(ValueError, match="must be"):
        taught(temperature, weight)


def test_answers_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"outputs must be \[\.\.\., 10\] or twice that, got \[3, 7\]"):
        taught().loss(torch.zeros(3, 7), torch.zeros(3, dtype=torch.int64))


def test_rows_clients_and_accounts_are_those_of_the_task():
    task = taught()
    assert task.dataset_id() == digits().dataset_id()
    assert (task.name, task.num_classes) == ("digits", 10)
    assert task.train() is digits().train()
    assert task.test() is digits().test()
    assert task.groups() is digits().groups() is None
    assert get_arrays(task.student(3)).keys() == get_arrays(digits().student(3)).keys()


CONVOLVED = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


@pytest.mark.parametrize("student", [nn.Linear(64, 10), CONVOLVED], ids=["linear", "convolved"])
def test_an_engine_is_chosen_that_clips_each_example_of_both_losses(student):
    """The closed form for linear models does not see the teacher, and is found out."""
    task = TaughtTask(digits(), lambda: copy.deepcopy(student), FrozenTeacher(dense()), 4.0, 0.7)
    module, split, (rows, targets) = task.model(0), task.train().take(np.arange(40)), rows_of(40)
    engine = choose_engine(module, task.loss, split.inputs, split.targets).engine
    assert engine.name in ("ghost", "vmap")
    exact = example_gradients(copy.deepcopy(module).train(), task.loss, rows, targets)
    norms = torch.stack([each.flatten(1).norm(dim=1) for each in exact]).norm(dim=0)
    bound = float(norms.median())
    everybody = PoissonSampler(40, 1.0, steps=1)
    found = clipped_gradient_sum(module, split, loss=task.loss, sampler=everybody, max_grad_norm=bound)
    for array, expected in zip(found.values(), clip_rows(exact, bound), strict=True):
        np.testing.assert_allclose(array, expected.numpy(), atol=1e-4 * bound)


def test_a_bare_copy_answers_for_itself_alone_in_every_mode():
    module, (rows, _) = taught().model(1), rows_of(3)
    assert bare(module).train()(rows).shape == (3, 10)
    assert module.train()(rows).shape == (3, 20)
    assert list(bare(module).state_dict()) == list(module.state_dict())
