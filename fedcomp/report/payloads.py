"""Where the bytes of one payload each way went, as rows that the page and the terminal show alike."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedcomp.report import units
from fedcomp.report.load import RunFiles
from fedcomp.report.schema import ArrayBytes, PayloadBytes

_MOST_LAYERS = 12


@dataclass(frozen=True)
class StageRow:
    """The payload if its chain ended at this stage; ``share`` is its bytes over those of the largest, in (0, 1]."""

    name: str
    bytes: int
    against_fp32: str
    share: float


@dataclass(frozen=True)
class LayerRow:
    """What one array, or several together, has of a payload; ``share`` is its bytes over those of the largest row."""

    name: str
    values: int
    bytes: float
    share: float = 1.0

    @property
    def bits(self) -> float | None:
        """Bits per value; ``None`` where there is no value."""
        return 8 * self.bytes / self.values if self.values else None


@dataclass(frozen=True)
class Payload:
    """One payload of a run: which it is, its bytes after each stage, and by layer.

    ``layers`` is empty, and ``total`` ``None``, if no byte can be given to one layer.
    """

    direction: str
    about: str
    stages: tuple[StageRow, ...]
    layers: tuple[LayerRow, ...]
    total: LayerRow | None


WORDS = {
    "exact": "Bytes after a stage are exact: those of the payload if its chain of stages ended there.",
    "shared": "The payload's bytes are shared out among layers by the length of the code that each value takes.",
    "mixed": "No byte of this payload can be given to one layer: a stage of its chain mixes values across layers, or "
    "can be undone only beside the model that both sides hold.",
    "no_downlink": "The run kept no payload of the downlink to break down.",
}
"""Sentences that stand by the tables."""


def payloads(run: RunFiles) -> list[Payload]:
    """Return the uplink's payload, then the downlink's if one was kept; none if the run has no ``bytes.json``."""
    if run.bytes is None:
        return []
    shown = [_payload("Uplink", _about_uplink(run), run.bytes)]
    if run.bytes.downlink is not None:
        what = "whole model" if run.bytes.downlink.whole else "newest change of the model"
        about = f"The {what} that the same client was sent in that round, as the server encoded it."
        shown.append(_payload("Downlink", about, run.bytes.downlink))
    return shown


def _about_uplink(run: RunFiles) -> str:
    around = "Envelope and message headers" if run.sealed else "Message headers"
    return (
        f"One update of round {run.summary.rounds:,}, the last, as its client encoded it: the first that arrived and "
        f"was counted. {around} come on top, and are in the totals above."
    )


def _payload(direction: str, about: str, payload: PayloadBytes) -> Payload:
    plain, *coded = payload.stages
    most = max(stage.bytes for stage in payload.stages)
    stages = [
        StageRow(stage.stage, stage.bytes, _times(plain.bytes / stage.bytes), stage.bytes / most) for stage in coded
    ]
    return Payload(
        direction=direction,
        about=about,
        stages=(StageRow(plain.stage, plain.bytes, "-", plain.bytes / most), *stages),
        layers=_layers(payload.arrays),
        total=_together("All", payload.arrays) if payload.arrays else None,
    )


def _times(ratio: float) -> str:
    return "the same" if f"{ratio:.1f}" == "1.0" else units.times(ratio)


def _layers(arrays: Sequence[ArrayBytes]) -> tuple[LayerRow, ...]:
    """Return a row an array in the model's order; of very many, the largest and one row for the others."""
    kept = set(range(len(arrays)))
    if len(arrays) > _MOST_LAYERS:
        by_size = sorted(kept, key=lambda index: (-arrays[index].bytes, index))
        kept = set(by_size[: _MOST_LAYERS - 1])
    rows = [_together(array.array, [array]) for index, array in enumerate(arrays) if index in kept]
    others = [array for index, array in enumerate(arrays) if index not in kept]
    if others:
        rows.append(_together(f"{len(others):,} smaller ones", others))
    most = max((row.bytes for row in rows), default=0.0)
    return tuple(replace(row, share=row.bytes / most if most else 0.0) for row in rows)


def _together(name: str, arrays: Sequence[ArrayBytes]) -> LayerRow:
    return LayerRow(name, sum(array.values for array in arrays), sum(array.bytes for array in arrays))
