"""Small ONNX graphs made by hand, so that tests of passes need no exporter."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from fedcomp.runtimes.onnx_session import onnx_program

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper
Node = tuple[str, Sequence[str], str, Mapping[str, Any]]


def graph(
    nodes: Sequence[Node],
    weights: Mapping[str, np.ndarray],
    shape: Sequence[int],
    kind: int = TensorProto.FLOAT,
    rank: int | None = None,
) -> bytes:
    """Return the bytes of a graph from ``input [batch, *shape]`` to ``output``, which has ``rank`` axes or as many."""
    made = [helper.make_node(word, list(inputs), [output], **options) for word, inputs, output, options in nodes]
    axes = ["batch", *(f"axis{i}" for i in range(1, rank or len(shape) + 1))]
    whole = helper.make_graph(
        made,
        "graph",
        [helper.make_tensor_value_info("input", kind, ["batch", *shape])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, axes)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()],
    )
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def perceptron() -> bytes:
    """Two Linear layers as the exporter writes them: Gemm with transposed weights."""
    weights = {"w": normal(0, 16, 8), "b": normal(1, 16), "v": normal(2, 3, 16), "c": normal(3, 3)}
    nodes = [
        ("Gemm", ["input", "w", "b"], "hidden", {"transB": 1}),
        ("Relu", ["hidden"], "active", {}),
        ("Gemm", ["active", "v", "c"], "output", {"transB": 1}),
    ]
    return graph(nodes, weights, [8])


def residual() -> bytes:
    """Two convolutions with a sum around the second, averaged over the image and classified."""
    weights = {"w": normal(0, 8, 2, 3, 3), "b": normal(1, 8), "v": normal(2, 8, 8, 3, 3), "c": normal(3, 8)}
    weights |= {"o": normal(4, 8, 3), "axes": np.array([2, 3])}
    nodes = [
        ("Conv", ["input", "w", "b"], "first", {"pads": [1, 1, 1, 1]}),
        ("Relu", ["first"], "stem", {}),
        ("Conv", ["stem", "v", "c"], "branch", {"pads": [1, 1, 1, 1]}),
        ("Add", ["stem", "branch"], "sum", {}),
        ("Relu", ["sum"], "top", {}),
        ("ReduceMean", ["top", "axes"], "pooled", {"keepdims": 0}),
        ("MatMul", ["pooled", "o"], "output", {}),
    ]
    return graph(nodes, weights, [2, 6, 6], rank=2)


def embedding() -> bytes:
    """A table of 20 tokens and a product over every place: rows ``[n, 5]`` of whole numbers."""
    weights = {"table": normal(0, 20, 8), "w": normal(1, 8, 4)}
    nodes = [("Gather", ["table", "input"], "vectors", {}), ("MatMul", ["vectors", "w"], "output", {})]
    return graph(nodes, weights, [5], TensorProto.INT64, rank=3)


def operators(content: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(content).graph.node]


def stored(content: bytes) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(content).graph.initializer}


def error(found: bytes, original: bytes, rows: np.ndarray) -> float:
    """Return the relative error of one file's outputs to another's."""
    expected = onnx_program(original)(rows)
    return float(np.linalg.norm(onnx_program(found)(rows) - expected) / np.linalg.norm(expected))
