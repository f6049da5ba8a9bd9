"""The models of a run as modules: the global one, and the student, rebuilt from what the run released."""

from pathlib import Path

from torch import nn

from fedcomp.arrays import Arrays
from fedcomp.plan import Plan
from fedcomp.rng import derived_seed
from fedcomp.shrink import load_arrays
from fedcomp.shrink.taught import bare
from fedcomp.training import set_arrays


def global_module(plan: Plan, arrays: Arrays) -> nn.Module:
    """Return the global model with these arrays, in eval mode."""
    module = plan.task.model(plan.model_seed())
    set_arrays(module, arrays)
    return bare(module).eval()


def student_module(plan: Plan, arrays: Arrays | None = None) -> nn.Module:
    """Return the student with these arrays, or with the initial weights that belong to the run's seed."""
    module = plan.task.student(derived_seed(plan.config.seed, "student") % 2**31)
    if arrays is not None:
        set_arrays(module, arrays)
    return module.eval()


def released_modules(plan: Plan, path: Path) -> dict[str, nn.Module]:
    """Return the models that the finished run at ``path`` has, by role: ``global`` and perhaps ``student``.

    Raises:
        RunError: if a file is missing or damaged.
        ArraysError: if its arrays are those of another architecture.
    """
    modules = {"global": global_module(plan, load_arrays(path / "global.safetensors")[0])}
    if (path / "student.safetensors").exists():
        modules["student"] = student_module(plan, load_arrays(path / "student.safetensors")[0])
    return modules
