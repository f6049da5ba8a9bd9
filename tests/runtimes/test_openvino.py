"""What is particular to OpenVINO; ``tests/contracts/test_runtimes.py`` has the rest."""

import importlib.util
import sys

import numpy as np
import pytest
from onnx_graphs import error, graph, normal, onnx, perceptron, residual

from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.onnx_session import onnx_program
from fedcomp.runtimes.onnx_static import static_int8
from fedcomp.runtimes.onnx_weights import half_weights
from fedcomp.runtimes.openvino import OpenVino

ENGINE = OpenVino()


@pytest.fixture(autouse=True)
def _installed():
    if (command := ENGINE.missing()) is not None:
        pytest.skip(command)


def test_it_reads_our_own_int8_files_and_answers_as_onnx_runtime_does():
    content, rows = static_int8(residual(), normal(5, 32, 2, 6, 6)), normal(6, 20, 2, 6, 6)
    ours, theirs = onnx_program(content)(rows), ENGINE.open(content)(rows)
    assert np.linalg.norm(theirs - ours) / np.linalg.norm(ours) < 0.01
    assert error(content, residual(), rows) > 0.01  # so the two agree on rounded numbers, not on the exact ones


def test_fp32_files_are_computed_in_fp32_even_where_the_processor_has_bfloat16():
    rows = normal(6, 20, 8)
    np.testing.assert_allclose(ENGINE.open(perceptron())(rows), onnx_program(perceptron())(rows), rtol=1e-4, atol=1e-5)


def test_operators_with_several_outputs_do_not_confuse_it():
    nodes = [("Split", ["input"], "left", {"num_outputs": 2}), ("Neg", ["left"], "output", {})]
    model = onnx.load_from_string(graph(nodes, {}, [8]))
    model.graph.node[0].output.append("right")
    assert ENGINE.open(model.SerializeToString())(normal(0, 4, 8)).shape == (2, 8)


def test_bfloat16_files_answer_within_bfloat16():
    rows = normal(6, 20, 8)
    content = half_weights(perceptron(), "bfloat16")
    assert error(content, perceptron(), rows) < 0.02
    exact = onnx_program(perceptron())(rows)
    assert np.linalg.norm(ENGINE.open(content)(rows) - exact) / np.linalg.norm(exact) < 0.03


def test_packages_that_send_statistics_are_not_imported():
    ENGINE.open(perceptron())
    assert not {"nncf", "openvino_telemetry"} & sys.modules.keys()


def test_what_it_lacks_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else object())
    with pytest.raises(ExportError, match=r"pip install --no-deps openvino"):
        ENGINE.open(b"")
