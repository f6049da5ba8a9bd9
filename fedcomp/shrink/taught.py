"""Recovery training as a task: a small model is trained on the clients' rows, with a dense one as its teacher.

Hinton, Vinyals and Dean, *Distilling the knowledge in a neural network* (2015). The teacher is a part of the model that
never changes, so the training itself needs to know nothing of it. An example's loss depends on that example alone:
DP-SGD clips, counts and is accounted as ever. What the clients learn of the teacher is what its own release gave away.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedcomp.tasks.base import Split, Task


class FrozenTeacher:
    """A copy of a dense model, in eval mode, that nothing changes; copies of what has it beside it share it."""

    def __init__(self, model: nn.Module) -> None:
        self._model = copy.deepcopy(model).eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> "FrozenTeacher":
        return self

    def __call__(self, student: nn.Module, inputs: tuple[Tensor, ...], answers: Tensor) -> Tensor:
        """Return what the student is to answer, as PyTorch asks a forward hook."""
        return torch.cat([answers, self._model(*inputs)], dim=-1) if student.training else answers


def beside(student: nn.Module, teacher: FrozenTeacher) -> nn.Module:
    """Return ``student`` itself, which from now on answers for both in training mode: logits ``[..., 2 * classes]``.

    The student's come first; in eval mode it answers for itself alone. The teacher is no part of it: it is in no state,
    no payload and no model file, the student's arrays keep their names, and no mode reaches the teacher.
    """
    student.register_forward_hook(teacher)
    return student


def bare(module: nn.Module) -> nn.Module:
    """Return a copy of ``module`` without a teacher, which is what is released, cut further and exported."""
    alone = copy.deepcopy(module)
    for key in [key for key, hook in alone._forward_hooks.items() if isinstance(hook, FrozenTeacher)]:
        del alone._forward_hooks[key]
    return alone


@dataclass(frozen=True, eq=False)
class TaughtTask(Task):
    """``task`` with a student in place of its model, and a loss that looks at the teacher too.

    ``make_student`` returns a fresh student over ``Split.inputs``; ``temperature`` is what logits are divided by before
    the softmax, ``weight`` the share of the loss that comes from the teacher. Rows and accounts are the task's.

    Raises:
        ValueError: for a temperature or a weight out of range.
    """

    task: Task
    make_student: Callable[[], nn.Module]
    teacher: FrozenTeacher
    temperature: float
    weight: float
    name: str = field(init=False)
    num_classes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.task.name)
        object.__setattr__(self, "num_classes", self.task.num_classes)
        if not self.temperature > 0:
            raise ValueError(f"temperature must be greater than 0, got {self.temperature}")
        if not 0 < self.weight <= 1:
            raise ValueError(f"weight must be in (0, 1], got {self.weight}")

    def network(self) -> nn.Module:
        """Return a new student with its teacher."""
        return beside(self.make_student(), self.teacher)

    def train(self) -> Split:
        """Return the task's training rows."""
        return self.task.train()

    def test(self) -> Split:
        """Return the task's test rows."""
        return self.task.test()

    def student_network(self) -> nn.Module:
        """Return what the task distils on public rows, after the rounds; not what is trained here."""
        return self.task.student_network()

    def features(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return the task's features of ``raw`` rows."""
        return self.task.features(raw)

    def groups(self) -> NDArray[Any] | None:
        """Return the task's natural clients."""
        return self.task.groups()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example, ``[n]``: of student and teacher in training mode, else the task's own."""
        if not self._both(outputs):
            return self.task.loss(outputs, targets)
        student, teacher = outputs.chunk(2, dim=-1)
        imitation = _distances(student, teacher, self.temperature)
        if self.weight == 1:
            return imitation
        return self.weight * imitation + (1 - self.weight) * self.task.loss(student, targets)

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the task's metric of the student."""
        return self.task.metric(outputs.chunk(2, dim=-1)[0] if self._both(outputs) else outputs, targets)

    def dataset_id(self) -> str:
        """Return the task's: the same rows, and the same accounts."""
        return self.task.dataset_id()

    def _both(self, outputs: Tensor) -> bool:
        if outputs.shape[-1] not in (self.num_classes, 2 * self.num_classes):
            raise ValueError(f"outputs must be [..., {self.num_classes}] or twice that, got {list(outputs.shape)}")
        return outputs.shape[-1] == 2 * self.num_classes


def _distances(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return ``[n]``: KL(teacher || student) of softened logits ``[n, ..., classes]``, times the temperature squared.

    Of an example with several answers (a sequence), their mean. The square keeps the gradient's size the same whatever
    the temperature (Hinton et al. 2015, section 2).
    """
    answers, expected = (functional.log_softmax(each / temperature, dim=-1) for each in (student, teacher))
    distances = functional.kl_div(answers, expected, reduction="none", log_target=True).sum(dim=-1)
    return distances.reshape(len(distances), -1).mean(dim=1) * temperature**2
