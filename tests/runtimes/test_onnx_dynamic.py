"""Dynamic int8: no rows needed, Gemm and tables included, convolutions left alone."""

import numpy as np
import pytest
from onnx_graphs import embedding, error, graph, normal, onnx, operators, perceptron, residual, stored

from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.onnx_dynamic import dynamic_int8

TOKENS = np.random.default_rng(0).integers(0, 20, (7, 5))


@pytest.mark.parametrize(("make", "rows"), [(perceptron, normal(5, 9, 8)), (embedding, TOKENS)])
def test_outputs_are_within_two_percent(make, rows):
    changed = dynamic_int8(make())
    onnx.checker.check_model(onnx.load_from_string(changed))
    assert 0 < error(changed, make(), rows) < 0.02


def test_gemm_is_covered():
    found = operators(dynamic_int8(perceptron()))
    assert found.count("MatMulInteger") == 2
    assert "Gemm" not in found
    assert {"w", "v"}.isdisjoint(stored(dynamic_int8(perceptron())))


def test_tables_are_rows_of_int8():
    kept = stored(dynamic_int8(embedding()))
    assert kept["table/int8"].dtype == np.int8
    assert kept["table/scales"].shape == (20, 1)


def test_convolutions_stay_in_floats():
    found = operators(dynamic_int8(residual()))
    assert (found.count("Conv"), found.count("ConvInteger"), found.count("MatMulInteger")) == (2, 0, 1)


def test_an_input_that_two_products_share_is_rounded_once():
    nodes = [
        ("MatMul", ["input", "w"], "left", {}),
        ("MatMul", ["input", "v"], "right", {}),
        ("Add", ["left", "right"], "output", {}),
    ]
    content = graph(nodes, {"w": normal(0, 8, 4), "v": normal(1, 8, 4)}, [8])
    changed = dynamic_int8(content)
    assert operators(changed).count("DynamicQuantizeLinear") == 1
    assert error(changed, content, normal(2, 6, 8)) < 0.02


def test_no_product_is_refused():
    content = graph([("Conv", ["input", "w"], "output", {})], {"w": normal(0, 2, 2, 1, 1)}, [2, 3, 3])
    with pytest.raises(ExportError, match="int8-dynamic: expected a model with linear layers"):
        dynamic_int8(content)
