"""The global model made small, and written to files that other programs read."""

from fedcomp.shrink.distil import distil
from fedcomp.shrink.export import ExportError, OnnxExport, export_onnx
from fedcomp.shrink.model_file import load_arrays, save_arrays

__all__ = ["ExportError", "OnnxExport", "distil", "export_onnx", "load_arrays", "save_arrays"]
