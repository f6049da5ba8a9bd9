"""The codecs of ``benchmarks.bytes_to_accuracy``: uplink and downlink chains, and rounds beyond fp32's."""

from typing import Any

Chain = list[dict[str, Any]]

CODECS: dict[str, tuple[Chain, Chain, int]] = {
    "fp32": ([], [], 0),
    "float16": ([{"id": "float16"}], [{"id": "float16"}], 0),
    "rate .25, dithered": ([{"id": "rate", "bits": 0.25, "dither": True}], [], 0),
    "step 4 rms, feedback": (
        [{"id": "feedback", "decay": 1.0}, {"id": "step", "step_rms": 4.0, "dead_zone": 0.6}, {"id": "rans"}],
        [],
        0,
    ),
}
