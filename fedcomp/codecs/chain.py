"""Stages composed to a codec."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from fedcomp.arrays import Array, Arrays, ArraysError
from fedcomp.codecs.base import MAX_VALUES, PayloadError
from fedcomp.codecs.context import NO_CONTEXT, NOTHING, CodecContext, Side
from fedcomp.codecs.flat import dump_verbatim, flatten, flatten_like, load_verbatim, split
from fedcomp.codecs.frame import Frame, frame_size, read_frame, write_frame
from fedcomp.codecs.layout import ArraySpec, layout_of
from fedcomp.codecs.stage import Form, Packet, Spec, Stage
from fedcomp.codecs.stages.raw import Raw


@dataclass(frozen=True)
class Chain:
    """A ``Codec`` made of stages; without any, or of ``raw`` alone, it is lossless.

    All floating point arrays together are one float32 vector that goes through the stages (float64 is rounded to
    float32, float16 widened; each dtype comes back on decoding); all others travel in a section of their own, bit for
    bit. A frame's sections are: that one, then the streams that the stages set aside, then the values.
    """

    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        """Refuse stages that cannot follow each other (``ValueError``)."""
        if len(self.stages) > 1 and any(isinstance(stage, Raw) for stage in self.stages):
            raise ValueError("raw: expected to stand alone, got other stages beside it")
        self.forms([(64, 64)])

    @property
    def data_dependent(self) -> bool:
        """Whether any stage is."""
        return any(stage.data_dependent for stage in self.stages)

    @property
    def biased(self) -> bool:
        """Whether any stage is."""
        return any(stage.biased for stage in self.stages)

    @property
    def lossless(self) -> bool:
        """Whether there is no stage but ``raw``."""
        return all(isinstance(stage, Raw) for stage in self.stages)

    @property
    def needs_reference(self) -> bool:
        """Whether any stage does."""
        return any(stage.needs_reference for stage in self.stages)

    @property
    def private_side(self) -> bool:
        """Whether any stage does."""
        return any(stage.private_side for stage in self.stages)

    def encode(self, arrays: Arrays, rng: np.random.Generator, context: CodecContext = NO_CONTEXT) -> bytes:
        """Return the payload; see ``Codec.encode``."""
        return self._encode(arrays, rng, context, {})

    def advance(
        self, arrays: Arrays, rng: np.random.Generator, context: CodecContext = NO_CONTEXT
    ) -> tuple[bytes, dict[str, Array]]:
        """Return the payload and the memory for the next one; see ``Codec.advance``."""
        memory: dict[str, Array] = {}
        return self._encode(arrays, rng, context, memory), memory

    def decode(
        self, payload: bytes, *, max_values: int = MAX_VALUES, reference: Arrays | None = None
    ) -> dict[str, Array]:
        """Return the arrays; see ``Codec.decode``."""
        frame = read_frame(payload, self._digest, max_values)
        coded = [spec for spec in frame.layout if self._is_coded(spec)]
        verbatim = [spec for spec in frame.layout if not self._is_coded(spec)]
        if not frame.sections:
            raise PayloadError("expected at least one section, got none")
        found = load_verbatim(verbatim, frame.sections[0])
        side = self._public_side(coded, reference)
        found |= split(coded, self._inverse(frame.sections[1:], coded, side))
        return {spec.name: found[spec.name] for spec in frame.layout}

    def max_error(self, arrays: Arrays, context: CodecContext = NO_CONTEXT) -> float | None:
        """Return the sum of the stages' bounds, plus what float32 arithmetic and the arrays' dtypes round off."""
        layout = layout_of(arrays)
        if self.lossless or not any(spec.floating for spec in layout):
            return 0.0
        packet, total = Packet(flatten(layout, arrays)), 0.0
        side = self._side(layout, context)
        forms = self.forms([spec.shape for spec in layout if spec.floating])
        peak = float(np.abs(packet.values).max(initial=0.0))
        for stage, form in zip(self.stages, forms, strict=False):
            bound = stage.max_error(packet.values)
            if bound is None:
                return None
            total += bound
            packet = stage.forward(_placed(packet, form, side), np.random.default_rng(0))
            if packet.values.dtype == np.float32:
                peak = max(peak, float(np.abs(packet.values).max(initial=0.0)))
        halves = any(spec.dtype == np.float16 for spec in layout)
        return total + (peak + total) * (2.0**-21 + halves * 2.0**-11) + (2.0**-24 if halves else 2.0**-126)

    def config(self) -> list[dict[str, Any]]:
        """Return the config of every stage; see ``Codec.config``."""
        return [stage.config() for stage in self.stages]

    def digest(self) -> str:
        """Return 16 hex digits; see ``Codec.digest``."""
        return self._digest.hex()

    @cached_property
    def _digest(self) -> bytes:
        canonical = json.dumps(self.config(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).digest()[:8]

    def _is_coded(self, spec: ArraySpec) -> bool:
        return spec.floating and not self.lossless

    def _encode(
        self, arrays: Arrays, rng: np.random.Generator, context: CodecContext, memory: dict[str, Array]
    ) -> bytes:
        """Return the payload, and put what stages keep into ``memory``."""
        layout = layout_of(arrays)
        verbatim = dump_verbatim([arrays[spec.name] for spec in layout if not self._is_coded(spec)])
        if self.lossless:
            return write_frame(Frame(self._digest, layout, (verbatim,)))
        side, packet = self._side(layout, context), Packet(flatten(layout, arrays))
        forms = self.forms([spec.shape for spec in layout if spec.floating])
        sent: dict[int, Array] = {}
        for index, (stage, form) in enumerate(zip(self.stages, forms, strict=False)):
            own = replace(side, memory=_under(context.memory, index, stage))
            if stage.counts_bytes:
                own = replace(own, overhead=frame_size(layout, (verbatim, *packet.streams)))
            packet = stage.forward(_placed(packet, form, own), rng)
            memory |= {_key(index, stage, name): array for name, array in packet.memory.items()}
            if stage.learns:
                sent[index] = packet.values
        if sent:
            self._learn(packet, forms, side, sent, memory)
        return write_frame(Frame(self._digest, layout, (verbatim, *packet.streams, packet.values)))

    def _learn(
        self, packet: Packet, forms: Sequence[Form], side: Side, sent: Mapping[int, Array], memory: dict[str, Array]
    ) -> None:
        """Decode as the receiver will, and let stages keep what comes of it."""
        for index in range(len(self.stages) - 1, min(sent) - 1, -1):
            stage = self.stages[index]
            if index in sent:
                kept = stage.learn(sent[index], packet.values)
                memory |= {_key(index, stage, name): array for name, array in kept.items()}
            packet = stage.inverse(_placed(packet, forms[index], side), forms[index])

    def _side(self, layout: Sequence[ArraySpec], context: CodecContext) -> Side:
        """Return the context as vectors; raises ``ArraysError`` if it lacks the reference."""
        reference = importance = None
        if self.needs_reference or any(stage.chooses_by_reference for stage in self.stages):
            if context.reference is None:
                raise ArraysError("reference: expected what both ends hold, got none")
            reference = flatten_like(layout, context.reference, "reference")
        if context.importance is not None:
            importance = flatten_like(layout, context.importance, "importance")
        return Side(reference, importance, max_bytes=context.max_bytes)

    def _public_side(self, coded: Sequence[ArraySpec], reference: Arrays | None) -> Side:
        if not self.needs_reference:
            return NOTHING
        if reference is None:
            raise PayloadError("expected a reference to decode against, got none")
        try:
            return Side(flatten_like(coded, reference, "reference"))
        except ArraysError as error:
            raise PayloadError(str(error)) from None

    def forms(self, shapes: Sequence[tuple[int, ...]]) -> list[Form]:
        """Return the form of a packet before every stage and after the last.

        Raises:
            ValueError: if a stage cannot follow the ones before it.
        """
        size = sum(prod(shape) for shape in shapes)
        forms = [Form(Spec(np.dtype(np.float32), size), shapes=tuple(shapes), whole=True)]
        for index, stage in enumerate(self.stages):
            try:
                forms.append(stage.form(forms[-1]))
            except ValueError as error:
                raise ValueError(f"[{index}] {stage.id}: {error}") from None
        return forms

    def _inverse(self, sections: tuple[Array, ...], coded: Sequence[ArraySpec], side: Side) -> Array:
        """Return the float32 values that sections stand for, every one of them finite."""
        if self.lossless:
            _check_sections(sections, ())
            return np.empty(0, dtype=np.float32)
        *forms, last = self.forms([spec.shape for spec in coded])
        _check_sections(sections, (*last.streams, last.values))
        packet = Packet(sections[-1], sections[:-1])
        with np.errstate(over="ignore", invalid="ignore"):
            for stage, form in zip(reversed(self.stages), reversed(forms), strict=True):
                packet = stage.inverse(_placed(packet, form, side), form)
        if not np.isfinite(packet.values).all():
            raise PayloadError("expected finite values, got NaN or infinity")
        return packet.values if packet.values.flags.writeable else packet.values.copy()


def _placed(packet: Packet, form: Form, side: Side) -> Packet:
    """Return the packet for the stage that works on ``form``: with the shapes, and what it may know."""
    if not form.whole:
        side = replace(side, reference=None, importance=None)
    return Packet(packet.values, packet.streams, form.shapes, side)


def _key(index: int, stage: Stage, name: str) -> str:
    return f"{index}.{stage.id}.{name}"


def _under(memory: Mapping[str, Array], index: int, stage: Stage) -> dict[str, Array]:
    prefix = _key(index, stage, "")
    return {key.removeprefix(prefix): array for key, array in memory.items() if key.startswith(prefix)}


def _check_sections(sections: Sequence[Array], specs: Sequence[Spec]) -> None:
    if len(sections) != len(specs):
        raise PayloadError(f"expected {len(specs) + 1} sections, got {len(sections) + 1}")
    for index, (section, spec) in enumerate(zip(sections, specs, strict=True), start=1):
        if not spec.fits(section):
            length = "bytes" if spec.length is None else spec.length
            raise PayloadError(
                f"section {index}: expected {length} of {spec.dtype}, got {section.size} of {section.dtype}"
            )
