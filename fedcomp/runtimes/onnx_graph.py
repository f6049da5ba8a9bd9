"""What the passes over ONNX graphs share: weights as arrays, nodes in front of nodes, Gemm as MatMul."""

from collections.abc import Container, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class GraphEditor:
    """A parsed ONNX model that passes change; ``content()`` is its bytes.

    It works on the editor's own copy of the bytes. Names that it makes are the old name, a slash and a word, so that a
    pass over the same bytes gives the same bytes.
    """

    def __init__(self, content: bytes) -> None:
        import onnx

        self._onnx = onnx
        self.model = onnx.load_from_string(content)
        self.graph = self.model.graph

    def content(self) -> bytes:
        """Return the model's bytes, without weights that nothing reads any more."""
        read = {name for node in self.graph.node for name in node.input} | {one.name for one in self.graph.output}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        result: bytes = self.model.SerializeToString(deterministic=True)
        return result

    def weights(self) -> dict[str, Array]:
        """Return the float32 weights by name."""
        float32 = self._onnx.TensorProto.FLOAT
        tensors = (tensor for tensor in self.graph.initializer if tensor.data_type == float32)
        return {tensor.name: self._onnx.numpy_helper.to_array(tensor) for tensor in tensors}

    def readers(self) -> dict[str, list[Any]]:
        """Return the nodes that read each value."""
        found: dict[str, list[Any]] = {}
        for node in self.graph.node:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    def add_weight(self, name: str, values: Any) -> str:
        """Add an array or a numpy number as a constant, unless it is there already; return its name."""
        if all(tensor.name != name for tensor in self.graph.initializer):
            self.graph.initializer.append(self._onnx.numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def drop_weight(self, name: str) -> None:
        """Take a constant out, so that a node may give its name to a value."""
        (place,) = (i for i, tensor in enumerate(self.graph.initializer) if tensor.name == name)
        del self.graph.initializer[place]

    def node(self, operator: str, inputs: Iterable[str], output: str, domain: str = "", **attributes: Any) -> Any:
        """Return a new node, in no graph yet."""
        name = f"{output}/{operator}"
        return self._onnx.helper.make_node(operator, list(inputs), [output], name, domain=domain, **attributes)

    def value(self, name: str) -> Any:
        """Return a float32 value of unknown shape, to be declared as an output."""
        return self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, None)

    def replace_nodes(self, nodes: Iterable[Any]) -> None:
        """Set the graph's nodes, in an order in which each reads only what stands before it."""
        new = list(nodes)
        del self.graph.node[:]
        self.graph.node.extend(new)

    def use_domain(self, domain: str, version: int) -> None:
        """Declare another set of operators than ONNX's own."""
        if all(one.domain != domain for one in self.model.opset_import):
            self.model.opset_import.append(self._onnx.helper.make_opsetid(domain, version))


def attribute(node: Any, name: str, default: float) -> float:
    """Return a number that a node carries."""
    for one in node.attribute:
        if one.name == name:
            return float(one.i if one.type == one.INT else one.f)
    return default


def plain_gemm(node: Any) -> bool:
    """Return whether a Gemm is rows times weights plus bias, which is what the exporter makes of Linear."""
    return attribute(node, "alpha", 1) == attribute(node, "beta", 1) == 1 and not attribute(node, "transA", 0)


def gemm_as_matmul(editor: GraphEditor, outputs: Container[str] | None = None) -> None:
    """Turn every Gemm with constant weights, or only those that write one of ``outputs``, into MatMul and Add.

    Gemm is what the exporter makes of Linear over rows ``[n, k]``, MatMul and Add over rows ``[n, ..., k]``, and some
    integer kernels exist for MatMul alone. Gemm that scales or whose weights are computed stays.
    """
    weights, nodes = editor.weights(), []
    for node in editor.graph.node:
        wanted = node.op_type == "Gemm" and (outputs is None or node.output[0] in outputs)
        if not wanted or node.input[1] not in weights or not plain_gemm(node):
            nodes.append(node)
            continue
        factor = node.input[1]
        if attribute(node, "transB", 0):
            factor = editor.add_weight(f"{factor}/transposed", weights[factor].T)
        biased, (output,) = len(node.input) > 2 and bool(node.input[2]), node.output
        product = f"{output}/product" if biased else output
        nodes.append(editor.node("MatMul", [node.input[0], factor], product))
        if biased:
            nodes.append(editor.node("Add", [product, node.input[2]], output))
    editor.replace_nodes(nodes)
