"""Static int8 in an ONNX file: what is multiplied is rounded to 8 bits, in ranges that were measured beforehand.

The graph says so in ONNX's own words, QuantizeLinear and DequantizeLinear around each layer (QDQ), which ONNX Runtime
and OpenVINO turn into integer kernels and any other runtime can still compute.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.int8 import bias_floor, signed_channels, unsigned_range
from fedcomp.runtimes.onnx_calibration import activation_ranges
from fedcomp.runtimes.onnx_graph import GraphEditor, attribute, plain_gemm

_LAYERS = ("Conv", "Gemm", "MatMul")
_CUTS = ("Relu", "Clip")


@dataclass
class _Plan:
    """What a walk over the graph found: layers to quantize, tensors to round, and layers that swallow their ReLU."""

    layers: set[str] = field(default_factory=set)
    """By the name of their output."""
    rounded: dict[str, None] = field(default_factory=dict)
    """Names of tensors, in order."""
    swallowed: dict[str, str] = field(default_factory=dict)
    """Output of a layer to that of the ReLU behind it, which rounding to a range from zero computes, too."""


def static_int8(content: bytes, rows: NDArray[Any], percentile: float = 100.0) -> bytes:
    """Return the file with its convolutions and products in int8: weights a scale a channel, activations unsigned.

    Rounded are the inputs of Conv, Gemm and MatMul with constant weights, the outputs of Conv and Gemm (of their ReLU,
    which then costs nothing), and sums of such outputs. Left in fp32: the graph's outputs, outputs of MatMul, recurrent
    layers, normalisation, softmax, products of two activations. ``rows``, ``percentile``: see ``activation_ranges``.

    Raises:
        ExportError: if there is nothing to quantize.
    """
    editor = GraphEditor(content)
    plan = _planned(editor)
    if not plan.layers:
        raise ExportError("int8-static: expected a model with convolutions or linear layers, got one without")
    ranges = activation_ranges(content, list(plan.rounded), rows, percentile)
    steps = {name: unsigned_range(*ends) for name, ends in ranges.items()}
    weights = editor.weights()
    nodes = [new for one in editor.graph.input for new in _rounding(editor, one.name, steps)]
    for old in editor.graph.node:
        if old.op_type in _CUTS and old.input[0] in plan.swallowed:
            continue
        node = copy.deepcopy(old)
        if node.output[0] in plan.layers:
            nodes += _integers(editor, node, weights, steps[node.input[0]][0])
        node.input[:] = [f"{name}/rounded" if name in steps else name for name in node.input]
        node.output[:] = [plan.swallowed.get(name, name) for name in node.output]
        nodes += [node, *(new for name in node.output for new in _rounding(editor, name, steps))]
    editor.replace_nodes(nodes)
    return editor.content()


def _planned(editor: GraphEditor) -> _Plan:
    plan, weights, readers = _Plan(), editor.weights(), editor.readers()
    outputs = {one.name for one in editor.graph.output}
    for node in editor.graph.node:
        layer = _is_layer(node, weights)
        if not layer and not (node.op_type == "Add" and all(name in plan.rounded for name in node.input)):
            continue
        if layer:
            plan.layers.add(node.output[0])
            plan.rounded[node.input[0]] = None
        (result,) = node.output
        after = readers.get(result, [])
        if len(after) == 1 and result not in outputs and _cuts_at_zero(after[0], weights):
            (cut,) = after[0].output
            if cut not in outputs and node.op_type != "MatMul":
                plan.swallowed[result] = result = cut
        if result not in outputs and node.op_type != "MatMul":
            plan.rounded[result] = None
    return plan


def _is_layer(node: Any, weights: Mapping[str, NDArray[Any]]) -> bool:
    if node.op_type not in _LAYERS or node.input[1] not in weights:
        return False
    if len(node.input) > 2 and node.input[2] and node.input[2] not in weights:
        return False
    if node.op_type == "Gemm":
        return plain_gemm(node)
    return node.op_type == "Conv" or weights[node.input[1]].ndim == 2


def _cuts_at_zero(node: Any, weights: Mapping[str, NDArray[Any]]) -> bool:
    if node.op_type == "Clip":
        return len(node.input) > 1 and node.input[1] in weights and float(weights[node.input[1]]) == 0.0
    return bool(node.op_type == "Relu")


def _integers(
    editor: GraphEditor, node: Any, weights: Mapping[str, NDArray[Any]], input_scale: np.float32
) -> list[Any]:
    """Point a layer at weights and a bias that are stored as whole numbers; return the nodes that turn them back."""
    values = weights[node.input[1]]
    axis = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
    bias = weights[node.input[2]] if len(node.input) > 2 and node.input[2] else None
    if bias is not None:
        bias = np.broadcast_to(bias, values.shape[axis : axis + 1])
    integers, scales = signed_channels(values, axis, 0.0 if bias is None else bias_floor(bias, input_scale))
    node.input[1] = f"{node.output[0]}/weights"
    stored = [(node.input[1], integers, scales, axis)]
    if bias is not None:
        node.input[2] = f"{node.output[0]}/bias"
        steps = scales * input_scale
        stored.append((node.input[2], np.rint(bias / steps).astype(np.int32), steps, 0))
    return [
        editor.node(
            "DequantizeLinear",
            [
                editor.add_weight(f"{name}/int", whole),
                editor.add_weight(f"{name}/scale", step),
                # ONNX has zero as the default, but without it ONNX Runtime finds no integer Gemm
                editor.add_weight(f"{name}/zero", np.zeros(step.shape, whole.dtype)),
            ],
            name,
            axis=along,
        )
        for name, whole, step, along in stored
    ]


def _rounding(editor: GraphEditor, name: str, steps: Mapping[str, tuple[np.float32, np.uint8]]) -> list[Any]:
    if name not in steps:
        return []
    scale, zero = (
        editor.add_weight(f"{name}/{word}", v) for word, v in zip(("scale", "zero"), steps[name], strict=True)
    )
    return [
        editor.node("QuantizeLinear", [name, scale, zero], f"{name}/uint8"),
        editor.node("DequantizeLinear", [f"{name}/uint8", scale, zero], f"{name}/rounded"),
    ]
