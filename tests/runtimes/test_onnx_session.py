"""Opening ONNX files: rows are cast, and what is no such file is refused by name."""

import numpy as np
import pytest
from onnx_graphs import TensorProto, embedding, graph, normal, perceptron

from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.onnx_session import onnx_program, onnx_session


def test_rows_are_cast_to_what_the_graph_eats():
    program = onnx_program(perceptron())
    rows = normal(0, 4, 8)
    np.testing.assert_array_equal(program(rows.astype(np.float64)), program(rows))
    assert onnx_program(embedding())(np.array([[0, 1, 2, 3, 4]], np.int32)).shape == (1, 5, 4)


def test_what_is_no_onnx_file():
    with pytest.raises(ExportError, match="ONNX Runtime cannot open the file"):
        onnx_program(b"not a model")


def test_rows_of_another_shape():
    with pytest.raises(ExportError, match="ONNX Runtime cannot run the model"):
        onnx_program(perceptron())(normal(0, 4, 9))


def test_a_graph_that_eats_something_else():
    content = graph([("Cast", ["input"], "output", {"to": 1})], {}, [2], TensorProto.DOUBLE)
    with pytest.raises(ExportError, match="one float or int64 input"):
        onnx_program(content)


def test_threads():
    assert onnx_session(perceptron(), 2).get_session_options().intra_op_num_threads == 2
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        onnx_program(perceptron(), 0)
