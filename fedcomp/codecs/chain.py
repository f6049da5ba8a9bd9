"""Stages composed to a codec."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedcomp.arrays import Array, Arrays, ArraysError
from fedcomp.codecs.base import MAX_VALUES, PayloadError
from fedcomp.codecs.frame import Frame, read_frame, write_frame
from fedcomp.codecs.layout import ArraySpec, layout_of
from fedcomp.codecs.stage import Form, Packet, Spec, Stage
from fedcomp.codecs.stages.raw import Raw

MAX_MAGNITUDE = 2.0**100
"""A lossy chain refuses larger values: no update is that large, and below it no scale and no sum overflows."""


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
        self._forms(4096)

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

    def encode(self, arrays: Arrays, rng: np.random.Generator) -> bytes:
        """Return the payload; see ``Codec.encode``."""
        layout = layout_of(arrays)
        packet = None if self.lossless else Packet(_flatten(layout, arrays))
        if packet is not None:
            for stage in self.stages:
                packet = stage.forward(packet, rng)
        verbatim = _dump_verbatim([arrays[spec.name] for spec in layout if not self._is_coded(spec)])
        sections = (verbatim,) if packet is None else (verbatim, *packet.streams, packet.values)
        return write_frame(Frame(self._digest, layout, sections))

    def decode(self, payload: bytes, *, max_values: int = MAX_VALUES) -> dict[str, Array]:
        """Return the arrays; see ``Codec.decode``."""
        frame = read_frame(payload, self._digest, max_values)
        coded = [spec for spec in frame.layout if self._is_coded(spec)]
        verbatim = [spec for spec in frame.layout if not self._is_coded(spec)]
        if not frame.sections:
            raise PayloadError("expected at least one section, got none")
        found = _load_verbatim(verbatim, frame.sections[0])
        values = self._inverse(frame.sections[1:], sum(spec.size for spec in coded))
        found |= _split(coded, values)
        return {spec.name: found[spec.name] for spec in frame.layout}

    def max_error(self, arrays: Arrays) -> float | None:
        """Return the sum of the stages' bounds, plus what float32 arithmetic and the arrays' dtypes round off."""
        layout = layout_of(arrays)
        if self.lossless or not any(spec.floating for spec in layout):
            return 0.0
        packet, total = Packet(_flatten(layout, arrays)), 0.0
        peak = float(np.abs(packet.values).max(initial=0.0))
        for stage in self.stages:
            bound = stage.max_error(packet.values)
            if bound is None:
                return None
            total += bound
            packet = stage.forward(packet, np.random.default_rng(0))
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

    def _forms(self, size: int) -> list[Form]:
        forms = [Form(Spec(np.dtype(np.float32), size))]
        for index, stage in enumerate(self.stages):
            try:
                forms.append(stage.form(forms[-1]))
            except ValueError as error:
                raise ValueError(f"[{index}] {stage.id}: {error}") from None
        return forms

    def _inverse(self, sections: tuple[Array, ...], size: int) -> Array:
        """Return the float32 values that sections stand for, every one of them finite."""
        if self.lossless:
            _check_sections(sections, ())
            return np.empty(0, dtype=np.float32)
        *forms, last = self._forms(size)
        _check_sections(sections, (*last.streams, last.values))
        packet = Packet(sections[-1], sections[:-1])
        with np.errstate(over="ignore", invalid="ignore"):
            for stage, form in zip(reversed(self.stages), reversed(forms), strict=True):
                packet = stage.inverse(packet, form)
        if not np.isfinite(packet.values).all():
            raise PayloadError("expected finite values, got NaN or infinity")
        return packet.values if packet.values.flags.writeable else packet.values.copy()


def _check_sections(sections: Sequence[Array], specs: Sequence[Spec]) -> None:
    if len(sections) != len(specs):
        raise PayloadError(f"expected {len(specs) + 1} sections, got {len(sections) + 1}")
    for index, (section, spec) in enumerate(zip(sections, specs, strict=True), start=1):
        if not spec.fits(section):
            length = "bytes" if spec.length is None else spec.length
            raise PayloadError(
                f"section {index}: expected {length} of {spec.dtype}, got {section.size} of {section.dtype}"
            )


def _flatten(layout: Sequence[ArraySpec], arrays: Arrays) -> Array:
    """Return the floating point arrays as one float32 vector, all of it within ``MAX_MAGNITUDE``."""
    names = [spec.name for spec in layout if spec.floating]
    with np.errstate(over="ignore"):
        parts = [arrays[name].reshape(-1).astype(np.float32, copy=False) for name in names]
    values = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype=np.float32), *parts])
    # NaN fails every comparison, so it is refused here too.
    if values.size and not (values.min() >= -MAX_MAGNITUDE and values.max() <= MAX_MAGNITUDE):
        for name, part in zip(names, parts, strict=True):
            if part.size and not (part.min() >= -MAX_MAGNITUDE and part.max() <= MAX_MAGNITUDE):
                raise ArraysError(f"array {name!r}: expected finite values of magnitude up to 2**100, got others")
    return values


def _split(coded: Sequence[ArraySpec], values: Array) -> dict[str, Array]:
    """Return the arrays that a float32 vector holds, each in its own dtype; float16 saturates."""
    arrays, at = {}, 0
    for spec in coded:
        part = values[at : at + spec.size].reshape(spec.shape)
        if spec.dtype == np.float16:
            part = np.asarray(np.clip(part, -65504.0, 65504.0))
        arrays[spec.name] = part.astype(spec.dtype, copy=len(coded) > 1)
        at += spec.size
    return arrays


def _dump_verbatim(arrays: Sequence[Array]) -> Array:
    """Return the bytes of arrays one after the other, without a copy if there is one array alone."""
    parts = [
        np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8) for array in arrays
    ]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype=np.uint8), *parts])


def _load_verbatim(specs: Sequence[ArraySpec], section: Array) -> dict[str, Array]:
    sizes = [spec.size * spec.dtype.itemsize for spec in specs]
    if section.dtype != np.uint8 or section.size != sum(sizes):
        raise PayloadError(f"section 0: expected {sum(sizes)} of uint8, got {section.size} of {section.dtype}")
    arrays, at = {}, 0
    for spec, size in zip(specs, sizes, strict=True):
        part = section[at : at + size]
        if spec.dtype == np.bool_ and part.max(initial=0) > 1:
            raise PayloadError(f"array {spec.name!r}: expected bools of 0 or 1, got {part.max()}")
        arrays[spec.name] = part.view(spec.dtype.newbyteorder("<")).reshape(spec.shape).astype(spec.dtype)
        at += size
    return arrays
