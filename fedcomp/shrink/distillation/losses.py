"""What a student pays for answering otherwise than its teacher."""

import torch
from torch.nn import functional


def distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float, counted: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean over answers of KL(teacher || student) of softened logits ``[..., classes]``, times T squared.

    Hinton, Vinyals and Dean, *Distilling the knowledge in a neural network* (2015); the square (its section 2) keeps
    the gradient's size the same whatever the temperature. Sequences are logits ``[n, length, classes]`` with a mask
    ``counted [n, length]``: what stands where it is false, padding, counts for nothing. Nothing counted costs 0.
    """
    rows, answers = _flat(student, counted), _flat(teacher, counted)
    softened = functional.log_softmax(rows / temperature, dim=1), functional.log_softmax(answers / temperature, dim=1)
    total = functional.kl_div(*softened, reduction="sum", log_target=True)
    return total / max(len(rows), 1) * temperature**2


def _flat(logits: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
    return logits.reshape(-1, logits.shape[-1]) if counted is None else logits[counted]
