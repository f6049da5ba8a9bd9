"""The codecs of ``benchmarks.bytes_to_accuracy``."""

from dataclasses import dataclass, field
from typing import Any

Chain = list[dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """Chains of both directions, who gets which release, and rounds beyond those of fp32 for those that need them."""

    uplink: Chain
    downlink: Chain = field(default_factory=list)
    release: str = "shared"
    extra_rounds: int = 0


def _rate(bits: float, **options: Any) -> dict[str, Any]:
    return {"id": "rate", "bits": bits, **options}


_FEEDBACK = {"id": "feedback", "decay": 1.0}
_RANS = {"id": "rans"}

CODECS: dict[str, Entry] = {
    "fp32": Entry([]),
    "float16 both ways": Entry([{"id": "float16"}], [{"id": "float16"}]),
    "int8 in blocks, rans": Entry([{"id": "block-uniform", "bit_width": 8}, _RANS]),
    "nf4": Entry([{"id": "nf4"}]),
    "ternary, rans": Entry([{"id": "ternary"}, _RANS]),
    "rotate, 1 bit": Entry([{"id": "rotate", "bit_width": 1}]),
    "top-k 1 %, feedback": Entry([_FEEDBACK, {"id": "topk", "density": 0.01}, {"id": "sign"}, _RANS]),
    "low rank 2, feedback": Entry([_FEEDBACK, {"id": "low-rank", "rank": 2}]),
    "random mask, rotate": Entry([{"id": "random-mask", "density": 0.25}, {"id": "rotate", "bit_width": 1}]),
    "rate .25, feedback": Entry([_FEEDBACK, _rate(0.25)]),
    "rate 1, dithered": Entry([_rate(1.0, dither=True)]),
    "rate .25, dithered": Entry([_rate(0.25, dither=True)]),
    "rate .1, dithered": Entry([_rate(0.1, dither=True)]),
    "rate .2 up, 1 down": Entry([_rate(0.2, dither=True)], [_rate(1.0, dither=True)], "each"),
    "rate .1 up, 1 down": Entry([_rate(0.1, dither=True)], [_rate(1.0, dither=True)], "each"),
}
