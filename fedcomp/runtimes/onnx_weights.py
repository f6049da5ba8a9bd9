"""Weights stored in fewer bits in an ONNX file, and turned back into float32 when it is opened.

All but ``int4_weights`` make the file smaller and nothing faster: ONNX Runtime's CPU kernels for convolutions and
products eat float32, so the weights are cast once, when the file is opened, and the program is then the fp32 one.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.onnx_graph import GraphEditor, gemm_as_matmul

BLOCK = 32
"""Weights of one column that share a scale in ``int4_weights``."""


def half_weights(content: bytes, number_format: str) -> bytes:
    """Return the file with weights as ``float16`` or ``bfloat16``, rounded to nearest.

    float16 keeps 11 bits and ends at 65504, beyond which a weight would become infinite; bfloat16 keeps 8 bits.

    Raises:
        ExportError: for a weight that is too large for float16.
    """
    dtype = _half(number_format)

    def store(editor: GraphEditor, name: str, values: NDArray[Any]) -> Iterable[Any]:
        with np.errstate(over="ignore"):
            stored = values.astype(dtype)
        if not np.isfinite(stored.astype(np.float32)).all():
            raise ExportError(
                f"weights {name}: expected values that {number_format} can hold, got {np.abs(values).max()}"
            )
        half = editor.add_weight(f"{name}/{number_format}", stored)
        return [editor.node("Cast", [half], name, to=1)]  # 1 is float32

    return _stored(content, store)


def fixed_point_weights(content: bytes, bit_width: int) -> bytes:
    """Return the file with weights as whole numbers of 8 or 16 bits times a power of two, one a tensor."""

    def store(editor: GraphEditor, name: str, values: NDArray[Any]) -> Iterable[Any]:
        integers, exponent = fixed_point(values, bit_width)
        stored = editor.add_weight(f"{name}/fixed{bit_width}", integers)
        step = editor.add_weight(f"{name}/step", np.array(2.0**exponent, np.float32))
        return [
            editor.node("Cast", [stored], f"{name}/integers", to=1),
            editor.node("Mul", [f"{name}/integers", step], name),
        ]

    return _stored(content, store)


def fixed_point(values: NDArray[Any], bit_width: int) -> tuple[NDArray[Any], int]:
    """Return whole numbers ``q`` of ``bit_width`` bits and the ``exponent`` for which ``q * 2**exponent`` is nearest.

    The exponent is the smallest that keeps all values in range, so that the error is at most half of ``2**exponent``
    and multiplying back is a shift. Values must be finite.
    """
    largest = 2 ** (bit_width - 1) - 1
    dtype = {8: np.int8, 16: np.int16}[bit_width]
    peak = float(np.abs(values).max(initial=0.0))
    if peak == 0.0:
        return np.zeros(values.shape, dtype), 0
    # float32 ends near 2**-149, and the step is stored as one
    exponent = max(int(np.ceil(np.log2(peak / largest))), -149)
    if np.rint(peak * 2.0**-exponent) > largest:  # the logarithm was rounded down
        exponent += 1
    return np.rint(values.astype(np.float64) * 2.0**-exponent).astype(dtype), exponent


def int4_weights(content: bytes) -> bytes:
    """Return the file with the constant factors of products in 4 bits: ONNX Runtime's MatMulNBits.

    Each block of 32 weights of a column has a float32 scale; weights are whole numbers in -8..7, stored plus 8. So a
    weight takes 5 bits. Only MatMul and Gemm are touched: convolutions and recurrent layers stay in float32.

    Raises:
        ExportError: if the model has no product with constant weights.
    """
    editor = GraphEditor(content)
    gemm_as_matmul(editor)
    weights, nodes, found = editor.weights(), [], 0
    for node in editor.graph.node:
        factor = node.input[1] if node.op_type == "MatMul" else ""
        if factor not in weights or weights[factor].ndim != 2:
            nodes.append(node)
            continue
        (inner, outer), found = weights[factor].shape, found + 1
        packed, scales = _int4_blocks(weights[factor])
        inputs = [
            node.input[0],
            editor.add_weight(f"{factor}/int4", packed),
            editor.add_weight(f"{factor}/scales", scales),
        ]
        # level 4 multiplies in 8 bits: up to twice as fast as in floats, and the weights' own error hides what it adds
        sizes = {"K": inner, "N": outer, "bits": 4, "block_size": BLOCK, "accuracy_level": 4}
        nodes.append(editor.node("MatMulNBits", inputs, node.output[0], "com.microsoft", **sizes))
    if not found:
        raise ExportError("int4-weight: expected a model with linear layers, got one without MatMul or Gemm")
    editor.replace_nodes(nodes)
    editor.use_domain("com.microsoft", 1)
    return editor.content()


def _int4_blocks(weights: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return weights ``[k, n]`` as bytes ``[n, blocks, 16]``, lower half first, and scales ``[n, blocks]``."""
    inner, outer = weights.shape
    padded = np.zeros((outer, -(-inner // BLOCK) * BLOCK), np.float32)
    padded[:, :inner] = weights.T
    blocks = padded.reshape(outer, -1, BLOCK)
    # the value farthest from zero becomes -8, the longer end of the range
    places = np.abs(blocks).argmax(axis=2)[..., None]
    scales = np.take_along_axis(blocks, places, axis=2) / np.float32(-8)
    integers = np.rint(blocks / np.where(scales == 0, np.float32(1), scales)).clip(-8, 7) + 8
    nibbles = integers.astype(np.uint8)
    return nibbles[..., ::2] | nibbles[..., 1::2] << 4, np.ascontiguousarray(scales[..., 0])


def _stored(content: bytes, store: Callable[[GraphEditor, str, NDArray[Any]], Iterable[Any]]) -> bytes:
    """Return the file with weights of two axes or more replaced by what ``store`` keeps and the nodes that undo it."""
    editor = GraphEditor(content)
    nodes: list[Any] = []
    for name, values in editor.weights().items():
        if values.ndim >= 2:  # biases and scales are few, and dear
            editor.drop_weight(name)
            nodes += store(editor, name, values)
    editor.replace_nodes([*nodes, *editor.graph.node])
    return editor.content()


def _half(number_format: str) -> Any:
    if number_format == "float16":
        return np.float16
    import ml_dtypes  # comes with onnx; numpy has no bfloat16 of its own

    return ml_dtypes.bfloat16
