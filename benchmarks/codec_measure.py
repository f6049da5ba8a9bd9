"""Every codec on one source at the asked rates: real payload bytes, error, distance from the bound, speed."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from benchmarks.codec_eden import Eden
from benchmarks.codec_rivals import BlockInt8, NormalFloat, Qsgd, Rival, SparseTernary, TernGrad, Values, ZippedHalves
from benchmarks.codec_sources import Source
from fedcomp.codecs import Codec, codec_from_config

Row = dict[str, Any]
Config = list[dict[str, Any]]
Measure = Callable[[Source, Sequence[float]], list[Row]]
ENCODER_SEED = 1
"""What stochastic rounding, rotations and dither are drawn from, in every codec and at every call."""
_NAME = "update"
_QUICK_SECONDS = 0.3


class Ours:
    """A codec of this library on one flat array, in the form of a rival: it is told no layer borders either."""

    def __init__(self, config: Config) -> None:
        """Build the codec; raises ``ConfigError`` if the library has no such stage or option."""
        self.codec: Codec = codec_from_config(config)

    def encode(self, values: Values, rng: np.random.Generator) -> bytes:
        """See ``Rival``."""
        return self.codec.encode({_NAME: values}, rng)

    def decode(self, payload: bytes) -> Values:
        """See ``Rival``."""
        return self.codec.decode(payload)[_NAME]


def rate_config(bits: float, **options: Any) -> Config:
    """Return the config of the flagship at a rate."""
    return [{"id": "rate", "bits": bits, **options}]


def measure(source: Source, rival: Rival, codec: str, setting: str, target: float | None = None) -> Row:
    """Return one row: sizes are of the payload, speeds in MB/s of fp32, medians of three calls if these are short."""
    encodes, decodes, payload, decoded = [], [], b"", source.values
    for _ in range(3):
        started = time.process_time()
        payload = rival.encode(source.values, np.random.default_rng(ENCODER_SEED))
        encoded = time.process_time()
        decoded = rival.decode(payload)
        encodes.append(encoded - started)
        decodes.append(time.process_time() - encoded)
        if encodes[0] + decodes[0] > _QUICK_SECONDS:
            break
    if decoded.shape != source.values.shape or decoded.dtype != np.float32:
        raise SystemExit(
            f"{codec} {setting}: expected float32{source.values.shape}, got {decoded.dtype}{decoded.shape}"
        )
    bits, nmse = 8 * len(payload) / source.values.size, source.nmse(decoded)
    return {
        "codec": codec,
        "setting": setting,
        "target": target,
        "bytes": len(payload),
        "bits": bits,
        "nmse": nmse,
        "gap_db": source.gap_db(bits, nmse),
        "encode_mb_s": 4e-6 * source.values.size / median(encodes),
        "decode_mb_s": 4e-6 * source.values.size / median(decodes),
    }


def nmse_at(rows: Sequence[Row], bits: float) -> float | None:
    """Return the error of a codec at a rate: straight lines in its logarithm between rows.

    The outer lines go on for one per cent of the rate, because two codecs that were asked for the same rate pay about
    the same; None beyond that.
    """
    ordered = sorted(rows, key=lambda row: float(row["bits"]))
    for left, right in pairwise(ordered):
        start = left["bits"] * (0.99 if left is ordered[0] else 1)
        end = right["bits"] * (1.01 if right is ordered[-1] else 1)
        if start <= bits <= end:
            place = (bits - left["bits"]) / max(right["bits"] - left["bits"], 1e-12)
            return float(left["nmse"] ** (1 - place) * right["nmse"] ** place)
    return None


def tuned(source: Source, make: Callable[[float], Rival], low: float, high: float, bits: float) -> float:
    """Return the knob in [low, high] at which payloads come within half a per cent of a rate.

    A bracketing search on logarithms (regula falsi, Illinois); the rate must be monotone in the knob.
    """

    def excess(place: float) -> float:
        payload = make(math.exp(place)).encode(source.values, np.random.default_rng(ENCODER_SEED))
        return math.log(8 * len(payload) / source.values.size / bits)

    left, right = math.log(low), math.log(high)
    at_left, at_right = excess(left), excess(right)
    place = left if abs(at_left) < abs(at_right) else right
    if at_left * at_right >= 0:
        return math.exp(place)
    for _ in range(12):
        place = (left * at_right - right * at_left) / (at_right - at_left)
        found = excess(place)
        if abs(found) < 0.005:
            break
        if found * at_right < 0:
            left, at_left = right, at_right
        else:
            at_left /= 2
        right, at_right = place, found
    return math.exp(place)


def _flagship(name: str, **options: Any) -> Measure:
    def rows(source: Source, rates: Sequence[float]) -> list[Row]:
        return [
            measure(source, Ours(rate_config(bits, **options)), name, f"bits {bits:g}", target=bits) for bits in rates
        ]

    return rows


def _step(source: Source, rates: Sequence[float]) -> list[Row]:
    rows = []
    for bits in rates:
        step = tuned(source, _step_codec, 1e-3, 30, bits)
        rows.append(measure(source, _step_codec(step), "step", f"step_rms {step:.3g}", target=bits))
    return rows


def _step_codec(step: float) -> Rival:
    return Ours([{"id": "step", "step_rms": step, "dead_zone": 0.6}, {"id": "rans"}])


def _rotate(source: Source, rates: Sequence[float]) -> list[Row]:
    return [
        measure(source, Ours([{"id": "rotate", "bit_width": width}]), "rotate", f"bit_width {width}")
        for width in (1, 2, 3, 4)
        if min(rates) <= width <= max(rates)
    ]


def _stc(source: Source, rates: Sequence[float]) -> list[Row]:
    rows = []
    for bits in (bits for bits in rates if bits <= 1):
        density = tuned(source, SparseTernary, 1e-4, 0.4, bits)
        rows.append(measure(source, SparseTernary(density), "stc", f"density {density:.3g}", target=bits))
    return rows


def _eden(unbiased: bool) -> Measure:
    name = "eden-unbiased" if unbiased else "eden"

    def rows(source: Source, rates: Sequence[float]) -> list[Row]:
        found = []
        for bits in rates:
            # a scale of 32 bits for 4,096 values comes on top
            width, density = max(round(bits), 1), min(1.0, max(bits - 32 / 4096, 0.01))
            setting = f"{width} bit" if density == 1 or bits >= 1 else f"1 bit of {density:.3g}"
            rival = Eden(width, 1.0 if bits >= 1 else density, unbiased)
            found.append(measure(source, rival, name, setting, target=bits))
        return found

    return rows


def _fixed(name: str, settings: Mapping[str, tuple[Rival, float]]) -> Measure:
    """Measure settings that have rates of their own, about the ones given, if the table asks for such rates."""

    def rows(source: Source, rates: Sequence[float]) -> list[Row]:
        wanted = {text: rival for text, (rival, bits) in settings.items() if min(rates) / 2 <= bits <= max(rates) * 2}
        return [measure(source, rival, name, text) for text, rival in wanted.items()]

    return rows


CODECS: dict[str, Measure] = {
    "rate": _flagship("rate"),
    "rate-max": _flagship("rate-max", mode="max"),
    "rate-dither": _flagship("rate-dither", dither=True),
    "step": _step,
    "rotate": _rotate,
    "qsgd": _fixed("qsgd", {f"levels {s}": (Qsgd(s), math.log2(s) / 1.5 + 0.3) for s in (1, 7, 31, 127, 511, 1023)}),
    "terngrad": _fixed("terngrad", {"": (TernGrad(), 1.0)}),
    "stc": _stc,
    "eden": _eden(unbiased=False),
    "eden-unbiased": _eden(unbiased=True),
    "nf4": _fixed("nf4", {"block 64": (NormalFloat(), 4.5)}),
    "int8": _fixed("int8", {f"block {block}": (BlockInt8(block), 8.0) for block in (64, 256, 4096)}),
    "fp16-zip": _fixed("fp16-zip", {"": (ZippedHalves(), 14.8)}),
}
"""Every codec that runs in this process: a function of a source and target rates to rows."""
