"""Changing graphs: Gemm is MatMul and Add, the same bytes give the same bytes, nothing unread stays."""

import numpy as np
from onnx_graphs import error, graph, normal, operators, perceptron, stored

from fedcomp.runtimes.onnx_graph import GraphEditor, attribute, gemm_as_matmul


def as_matmul(content: bytes, **options) -> bytes:
    editor = GraphEditor(content)
    gemm_as_matmul(editor, **options)
    return editor.content()


def test_gemm_as_matmul_computes_the_same_and_drops_the_old_weights():
    changed = as_matmul(perceptron())
    assert operators(changed) == ["MatMul", "Add", "Relu", "MatMul", "Add"]
    assert {"w", "v"}.isdisjoint(stored(changed))
    assert error(changed, perceptron(), normal(9, 5, 8)) < 1e-6


def test_only_the_named_outputs():
    assert operators(as_matmul(perceptron(), outputs={"output"})) == ["Gemm", "Relu", "MatMul", "Add"]


def test_gemm_without_bias_or_without_transposition():
    content = graph([("Gemm", ["input", "w"], "output", {})], {"w": normal(0, 8, 4)}, [8])
    changed = as_matmul(content)
    assert operators(changed) == ["MatMul"]
    assert error(changed, content, normal(1, 3, 8)) < 1e-6


def test_gemm_that_scales_stays():
    content = graph([("Gemm", ["input", "w"], "output", {"alpha": 2.0})], {"w": normal(0, 8, 4)}, [8])
    assert operators(as_matmul(content)) == ["Gemm"]


def test_equal_bytes_in_equal_bytes_out():
    assert as_matmul(perceptron()) == as_matmul(perceptron())


def test_a_weight_is_added_once_and_read_back():
    editor = GraphEditor(perceptron())
    count = len(editor.graph.initializer)
    for _ in range(2):
        assert editor.add_weight("new", np.float32([1, 2])) == "new"
    assert len(editor.graph.initializer) == count + 1
    np.testing.assert_array_equal(editor.weights()["new"], [1, 2])


def test_attributes_have_defaults():
    node = GraphEditor(perceptron()).graph.node[0]
    assert (attribute(node, "transB", 0), attribute(node, "alpha", 1.0)) == (1.0, 1.0)
