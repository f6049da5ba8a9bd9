"""The global model made small, and written to files that other programs read."""

from fedcomp.shrink.distil import distil
from fedcomp.shrink.model_file import load_arrays, save_arrays

__all__ = ["distil", "load_arrays", "save_arrays"]
