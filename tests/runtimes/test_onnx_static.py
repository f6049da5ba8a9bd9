"""Static int8: close to fp32, a quarter of its size, unsigned activations, signed weights, and integer kernels."""

from collections import Counter

import numpy as np
import pytest
from onnx_graphs import embedding, error, graph, normal, onnx, operators, perceptron, residual, stored

from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.onnx_session import onnx_program
from fedcomp.runtimes.onnx_static import static_int8

onnxruntime = pytest.importorskip("onnxruntime")


def kernels(content: bytes, tmp_path) -> Counter[str]:
    """Return what ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Counter(operators((tmp_path / "optimised.onnx").read_bytes()))


@pytest.mark.parametrize(("make", "shape"), [(perceptron, (8,)), (residual, (2, 6, 6))])
def test_outputs_are_within_six_percent_on_other_rows(make, shape):
    changed = static_int8(make(), normal(5, 64, *shape))
    onnx.checker.check_model(onnx.load_from_string(changed))
    for count in (1, 50):
        assert 0 < error(changed, make(), normal(6, count, *shape)) < 0.06


def test_convolutions_and_sums_run_in_integers_and_relu_costs_nothing(tmp_path):
    found = kernels(static_int8(residual(), normal(5, 16, 2, 6, 6)), tmp_path)
    assert (found["QLinearConv"], found["QLinearAdd"], found["MatMulIntegerToFloat"]) == (2, 1, 1)
    assert found["Conv"] == found["Relu"] == found["MatMul"] == 0


def test_linear_layers_which_are_exported_as_gemm_run_in_integers(tmp_path):
    found = kernels(static_int8(perceptron(), normal(5, 16, 8)), tmp_path)
    assert found == {"QuantizeLinear": 1, "QGemm": 2}


def test_weights_are_signed_a_scale_a_channel_and_activations_unsigned():
    kept = stored(static_int8(residual(), normal(5, 16, 2, 6, 6)))
    assert kept["first/weights/int"].dtype == np.int8
    assert kept["first/weights/scale"].shape == (8,)
    assert kept["first/bias/int"].dtype == np.int32
    assert all(values.dtype == np.uint8 for name, values in kept.items() if name in ("input/zero", "stem/zero"))
    assert kept["stem/zero"] == 0  # behind a ReLU nothing is below zero
    assert not {"w", "v", "o", "b", "c"} & kept.keys()


def test_logits_are_not_rounded():
    rows = normal(6, 200, 8)
    answers = onnx_program(static_int8(perceptron(), normal(5, 64, 8)))(rows)
    assert len(np.unique(answers[:, 0])) > 190


def test_a_percentile_is_finer_where_there_is_an_outlier():
    rows, others = normal(5, 200, 8), normal(6, 50, 8)
    rows[7, 0] = 300.0
    coarse, fine = static_int8(perceptron(), rows), static_int8(perceptron(), rows, 99.0)
    assert error(fine, perceptron(), others) < 0.25 * error(coarse, perceptron(), others)


def test_a_layer_that_starts_at_zero_keeps_its_bias():
    weights = {"w": np.zeros((4, 2, 1, 1), np.float32), "b": np.float32([1.0, -2.0, 0.5, 0.0])}
    content = graph([("Conv", ["input", "w", "b"], "made", {}), ("Neg", ["made"], "output", {})], weights, [2, 3, 3])
    assert error(static_int8(content, normal(0, 8, 2, 3, 3)), content, normal(1, 4, 2, 3, 3)) < 0.01


def test_relu6_is_swallowed_and_a_relu_with_another_reader_is_not():
    nodes = [
        ("Gemm", ["input", "w"], "hidden", {}),
        ("Clip", ["hidden", "zero", "six"], "cut", {}),
        ("Gemm", ["cut", "v"], "more", {}),
        ("Relu", ["more"], "positive", {}),
        ("Sub", ["positive", "more"], "output", {}),
    ]
    weights = {"w": normal(0, 8, 8), "v": normal(1, 8, 8), "zero": np.float32(0), "six": np.float32(6)}
    content = graph(nodes, weights, [8])
    changed = static_int8(content, normal(2, 64, 8))
    assert "Clip" not in operators(changed)
    assert "Relu" in operators(changed)
    assert error(changed, content, normal(3, 20, 8)) < 0.03


def test_tokens_calibrate_too():
    tokens = np.random.default_rng(0).integers(0, 20, (30, 5))
    changed = static_int8(embedding(), tokens)
    assert stored(changed)["table"].dtype == np.float32
    assert 0 < error(changed, embedding(), tokens[:7]) < 0.02


def test_equal_rows_give_equal_bytes_and_others_other_ones():
    first = static_int8(perceptron(), normal(5, 16, 8))
    assert first == static_int8(perceptron(), normal(5, 16, 8))
    assert first != static_int8(perceptron(), normal(6, 16, 8))


def test_nothing_to_quantize():
    with pytest.raises(ExportError, match="expected a model with convolutions or linear layers"):
        static_int8(graph([("Relu", ["input"], "output", {})], {}, [4]), normal(0, 2, 4))
