"""Dynamic int8 in an ONNX file: weights in 8 bits, activations rounded to 8 bits in a range found at run time.

No rows are needed to calibrate, and each batch has its own range: right for Transformers, whose activations have
outliers.
"""

from typing import Any

import numpy as np

from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.int8 import signed_channels
from fedcomp.runtimes.onnx_graph import GraphEditor, gemm_as_matmul


def dynamic_int8(content: bytes) -> bytes:
    """Return the file with its products by constant weights in int8, and its tables of embeddings as int8 rows.

    Convolutions stay in fp32: ONNX Runtime's integer convolution without ranges is five times slower than its fp32 one.
    So do recurrent layers, for which it has no faster integer kernel.

    Raises:
        ExportError: if the model has no product with constant weights.
    """
    editor = GraphEditor(content)
    gemm_as_matmul(editor)
    weights, readers = editor.weights(), editor.readers()
    rounded: set[str] = set()
    nodes: list[Any] = []
    found = 0
    for node in editor.graph.node:
        table = node.input[0] if node.op_type == "Gather" else ""
        if node.op_type == "MatMul" and node.input[1] in weights and weights[node.input[1]].ndim == 2:
            nodes += _product(editor, node, weights[node.input[1]], rounded)
            found += 1
        elif table in weights and weights[table].ndim == 2 and all(one.op_type == "Gather" for one in readers[table]):
            nodes += _rows_of_table(editor, node, weights[table])
        else:
            nodes.append(node)
    if not found:
        raise ExportError("int8-dynamic: expected a model with linear layers, got one without MatMul or Gemm")
    editor.replace_nodes(nodes)
    return editor.content()


def _product(editor: GraphEditor, node: Any, weights: Any, rounded: set[str]) -> list[Any]:
    """Return what computes ``rows @ weights`` in integers; an input that several products share is rounded once."""
    (rows, factor), (output,) = node.input, node.output
    integers, scales = signed_channels(weights, 1)
    stored, steps = editor.add_weight(f"{factor}/int8", integers), editor.add_weight(f"{factor}/scales", scales)
    nodes = []
    if rows not in rounded:
        rounded.add(rows)
        new = editor.node("DynamicQuantizeLinear", [rows], f"{rows}/uint8")
        new.output.extend([f"{rows}/uint8/scale", f"{rows}/uint8/zero"])
        nodes.append(new)
    return [
        *nodes,
        editor.node("MatMulInteger", [f"{rows}/uint8", stored, f"{rows}/uint8/zero"], f"{output}/int32"),
        editor.node("Cast", [f"{output}/int32"], f"{output}/sum", to=1),  # 1 is float32
        editor.node("Mul", [f"{rows}/uint8/scale", steps], f"{output}/steps"),
        editor.node("Mul", [f"{output}/sum", f"{output}/steps"], output),
    ]


def _rows_of_table(editor: GraphEditor, node: Any, table: Any) -> list[Any]:
    """Return what looks up int8 rows and then multiplies each by its scale; a lookup along another axis stays."""
    axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
    if axis:
        return [node]
    (name, places), (output,) = node.input, node.output
    integers, scales = signed_channels(table, 0, largest=127)
    stored, steps = (
        editor.add_weight(f"{name}/int8", integers),
        editor.add_weight(f"{name}/scales", scales[:, np.newaxis]),
    )
    return [
        editor.node("Gather", [stored, places], f"{output}/int8"),
        editor.node("Cast", [f"{output}/int8"], f"{output}/integers", to=1),
        editor.node("Gather", [steps, places], f"{output}/row/scale"),
        editor.node("Mul", [f"{output}/integers", f"{output}/row/scale"], output),
    ]
