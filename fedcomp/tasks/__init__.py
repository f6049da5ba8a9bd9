"""Tasks: data sets with the models that are trained on them, and how their rows are split."""

from fedcomp.tasks.base import ArrayTask, Split, Task, model_rows
from fedcomp.tasks.registry import load_task

__all__ = ["ArrayTask", "Split", "Task", "load_task", "model_rows"]
