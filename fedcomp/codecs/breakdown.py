"""Where the bytes of a payload went: after each stage, and by array.

Sizes after a stage are exact: before the entropy coder they follow from the layout alone, and the last one is the
payload's length. Bytes by array apportion that length by code length: what each symbol that was really coded costs
under the frequencies of its block class, as an adaptive coder sees them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.base import Codec
from fedcomp.codecs.chain import Chain
from fedcomp.codecs.frame import Frame, frame_size, read_frame
from fedcomp.codecs.layout import ArraySpec
from fedcomp.codecs.stage import Form, Packet, Stage

_BLOCK = 256
Bits = NDArray[np.float64]


@dataclass(frozen=True)
class Breakdown:
    """Bytes of one payload.

    ``stages``: (stage id, bytes of the payload if the chain ended there), fp32 first. ``arrays``: (name, values,
    bytes), empty if the chain mixes values so that none belongs to one array.
    """

    stages: tuple[tuple[str, int], ...]
    arrays: tuple[tuple[str, int, float], ...]


def breakdown(codec: Codec, payload: bytes, max_values: int) -> Breakdown:
    """Return where the bytes of a payload went that ``codec`` has decoded.

    Raises:
        PayloadError: if it is not a payload of this codec.
        TypeError: for a codec that has no stages.
    """
    if not isinstance(codec, Chain):
        raise TypeError(f"expected a chain of stages, got {type(codec).__name__}")
    frame = read_frame(payload, bytes.fromhex(codec.digest()), max_values)
    coded = [spec for spec in frame.layout if spec.floating and not codec.lossless]
    forms = codec.forms([spec.shape for spec in coded])
    sizes = [("fp32", _plain_size(frame))]
    for stage, form in zip(codec.stages, forms[1:], strict=True):
        sizes.append((stage.id, _form_size(frame, form)))
    sizes[-1] = (sizes[-1][0], len(payload))
    bits = None if codec.lossless else _bits_by_value(codec.stages, forms, frame.sections[1:])
    return Breakdown(tuple(sizes), _by_array(frame.layout, coded, bits, len(payload)))


def _plain_size(frame: Frame) -> int:
    values = sum(spec.size * spec.dtype.itemsize for spec in frame.layout)
    return frame_size(frame.layout, ()) + values


def _form_size(frame: Frame, form: Form) -> int:
    specs = (*form.streams, form.values)
    empty = [np.zeros(spec.length or 0, dtype=spec.dtype) for spec in specs]
    return frame_size(frame.layout, (frame.sections[0], *empty[:-1])) + empty[-1].nbytes


def _bits_by_value(stages: Sequence[Stage], forms: Sequence[Form], sections: Sequence[Array]) -> Bits | None:
    """Return the bits that each of the arrays' values cost; None if they cannot be told apart."""
    packet, costs = Packet(sections[-1], tuple(sections[:-1])), None
    stream_costs: list[Bits] = []
    for index in range(len(stages) - 1, -1, -1):
        stage, form = stages[index], forms[index]
        if stage.needs_reference:
            return None
        before = stage.inverse(Packet(packet.values, packet.streams, form.shapes), form)
        if packet.values.dtype == np.uint8 and forms[index + 1].values.length is None:
            symbols = stage.symbols(packet, form)
            costs = code_lengths(before.values if symbols is None else symbols)
            stream_costs = [code_lengths(stream) for stream in before.streams]
        else:
            if costs is None:
                costs = np.full(packet.values.size, 8.0 * packet.values.itemsize)
                stream_costs = [_fixed_bits(stream) for stream in packet.streams]
            placed = _placed(stage, costs, stream_costs, packet, form)
            if placed is None:
                return None
            costs, stream_costs = placed
        packet = before
    return costs


def _fixed_bits(stream: Array) -> Bits:
    return np.full(stream.size, 1.0 if stream.dtype.kind == "b" else 8.0 * stream.itemsize)


def _placed(
    stage: Stage, costs: Bits, stream_costs: list[Bits], packet: Packet, form: Form
) -> tuple[Bits, list[Bits]] | None:
    """Return the costs of the values before a stage; what it set aside is theirs too where it has one entry a value."""
    size = form.values.length or 0
    if costs.size != size:
        shown = stage.inverse(Packet(np.ones_like(packet.values), packet.streams, form.shapes), form).values
        places = np.flatnonzero(shown)
        if len(places) != costs.size:
            return None
        whole = np.zeros(size)
        whole[places] = costs
        costs = whole
    own = len(packet.streams) - len(form.streams)
    for stream in stream_costs[len(stream_costs) - own :] if own else []:
        if stream.size == size:
            costs = costs + stream
    return costs, stream_costs[: len(stream_costs) - own]


def code_lengths(symbols: Array) -> Bits:
    """Return the bits of each symbol under the frequencies of its class: blocks of 256 by mean magnitude."""
    if not symbols.size:
        return np.zeros(0)
    values = symbols.astype(np.float64)
    _, indices = np.unique(values, return_inverse=True)
    blocks = np.arange(symbols.size) // _BLOCK
    means = np.bincount(blocks, np.abs(values)) / np.bincount(blocks)
    classes = np.zeros(len(means), dtype=np.int64)
    moving = means > 0
    classes[moving] = np.rint(2 * np.log2(means[moving])).astype(np.int64)
    _, classes = np.unique(classes, return_inverse=True)
    joint = classes[blocks] * (int(indices.max()) + 1) + indices
    found, where, counts = np.unique(joint, return_inverse=True, return_counts=True)
    totals = np.bincount(found // (int(indices.max()) + 1), counts)
    bits = np.log2(totals[found // (int(indices.max()) + 1)] / counts)
    return np.asarray(bits[where], dtype=np.float64)


def _by_array(
    layout: Sequence[ArraySpec], coded: Sequence[ArraySpec], bits: Bits | None, total: int
) -> tuple[tuple[str, int, float], ...]:
    """Return name, values and bytes of every array; what belongs to none is spread in proportion."""
    own: dict[str, float] = {}
    if bits is None and coded:
        return ()
    at = 0
    for spec in layout:
        if bits is not None and spec in coded:
            own[spec.name] = float(bits[at : at + spec.size].sum()) / 8
            at += spec.size
        else:
            own[spec.name] = float(prod(spec.shape) * spec.dtype.itemsize)
    scale = total / sum(own.values()) if sum(own.values()) else 0.0
    return tuple((spec.name, spec.size, own[spec.name] * scale) for spec in layout)
