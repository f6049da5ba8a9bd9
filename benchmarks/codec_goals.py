"""The goals of the codecs, and by how much a run holds or misses each."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.codec_measure import Row, nmse_at

Rows = Mapping[str, Mapping[str, Sequence[Row]]]
"""Rows by source, then by codec."""
_UP_TO_8 = "every rate to 8 bits"


@dataclass(frozen=True)
class Goal:
    """``value`` must be at most ``limit``, or at least if ``floor``; None was not measured in this run."""

    text: str
    limit: float
    value: float | None
    unit: str
    floor: bool = False

    def verdict(self) -> str:
        """Return "holds", "misses by ..." or "not measured"."""
        if self.value is None:
            return "not measured"
        short = self.limit - self.value if self.floor else self.value - self.limit
        return "holds" if short <= 0 else f"misses by {short:.2g} {self.unit}"

    def line(self) -> str:
        """Return a line of the table."""
        sign = ">=" if self.floor else "<="
        value = "-" if self.value is None else f"{self.value:.2f}"
        return f"{self.text:<78}{sign:>3} {self.limit:<6g}{value:>9} {self.unit:<6} {self.verdict()}"


def distortion_goals(rows: Rows) -> list[Goal]:
    """Return the goals about the distance from the bounds."""

    def worst(source: str, codec: str, rates: Callable[[float], bool]) -> float | None:
        found = [row["gap_db"] for row in rows.get(source, {}).get(codec, ()) if rates(row["target"])]
        return max(found, default=None)

    goals = [
        Goal("gaussian: rate, gap at 0.05 and 0.1 bit", 0.2, worst("gaussian", "rate", lambda r: r <= 0.1), "dB"),
        Goal(f"gaussian: rate, gap at {_UP_TO_8}", 1.55, worst("gaussian", "rate", lambda r: r <= 8), "dB"),
    ]
    for bits, limit in ((0.5, 0.75), (1.0, 1.0), (2.0, 0.8), (4.0, 0.6)):
        value = worst("gaussian", "rate-max", lambda r, bits=bits: r == bits)  # type: ignore[misc]
        goals.append(Goal(f"gaussian: rate-max, gap at {bits:g} bit", limit, value, "dB"))
    for source in ("laplace", "student-t3"):
        goals += [
            Goal(f"{source}: rate, gap to 0.1 bit", 0.1, worst(source, "rate", lambda r: r <= 0.1), "dB"),
            Goal(f"{source}: rate, gap to 0.5 bit", 0.45, worst(source, "rate", lambda r: r <= 0.5), "dB"),
            Goal(f"{source}: rate, gap to 1 bit", 0.9, worst(source, "rate", lambda r: r <= 1), "dB"),
            Goal(f"{source}: rate, gap at {_UP_TO_8}", 1.55, worst(source, "rate", lambda r: r <= 8), "dB"),
        ]
    mixed = worst("mixed", "rate", lambda r: r <= 8)
    return [*goals, Goal(f"mixed: rate, gap at {_UP_TO_8}", 2.1, mixed, "dB")]


def equal_distortion_goals(table: Mapping[str, Any]) -> list[Goal]:
    """Return the goals against nf4, int8 and rotation; ``table`` has byte_ratio and gain_over_eden_db."""
    bytes_, gains = table.get("byte_ratio", {}), table.get("gain_over_eden_db", {})
    goals = [Goal("mixed: bytes of nf4 (block 64) over rate's, equal error", 2, bytes_.get("nf4 block 64"), "x", True)]
    for block in (64, 256, 4096):
        value = bytes_.get(f"int8 block {block}")
        goals.append(Goal(f"mixed: bytes of int8 (block {block}) over rate's, equal error", 1.6, value, "x", True))
    for bits, limit in ((0.5, 5), (1.0, 7), (4.0, 15)):
        text = f"mixed: rate better than rotation (EDEN) at {bits:g} bit"
        goals.append(Goal(text, limit, gains.get(f"{bits:g}"), "dB", True))
    return goals


def speed_goals(speed: Sequence[Row], memory: Mapping[str, float]) -> list[Goal]:
    """Return the goals about speed and memory; where several sources were timed, the slowest counts."""

    def slowest(names: Iterable[str], direction: str) -> float | None:
        wanted = set(names)
        return min((row[f"{direction}_mb_s"] for row in speed if row["codec"] in wanted), default=None)

    limits = {"rate 0.1 bit": 100, "rate 1 bit": 100, "rate 4 bit": 100, "rotate 1 bit": 300}
    goals = [
        Goal(f"{name}: {direction}", limit, slowest([name], direction), "MB/s", True)
        for name, limit in limits.items()
        for direction in ("encode", "decode")
    ]
    slow = [f"rate-max {bits} bit" for bits in ("0.1", "1", "4")]
    goals.append(Goal("rate-max, slowest of 0.1, 1, 4 bit: encode", 50, slowest(slow, "encode"), "MB/s", True))
    for direction, limit in (("encode", 5), ("decode", 2)):
        times = [_times(speed, bits, direction) for bits in ("1", "4")]
        value = min((found for found in times if found is not None), default=None)
        goals.append(Goal(f"rate: {direction} over NNCodec's, many values, 1 and 4 bit", limit, value, "x", True))
    text = "peak of what encoding allocates, over the input"
    return goals + [Goal(f"{name}: {text}", 3, ratio, "x") for name, ratio in memory.items()]


def _times(speed: Sequence[Row], bits: str, direction: str) -> float | None:
    """Return the least quotient, over the sources, of the speeds of ``rate`` and of NNCodec near a rate."""
    ours, theirs = (
        {row["source"]: row[f"{direction}_mb_s"] for row in speed if row["codec"] == name}
        for name in (f"rate {bits} bit", f"nncodec near {bits} bit")
    )
    return min((float(ours[source] / theirs[source]) for source in ours.keys() & theirs.keys()), default=None)


def nncodec_goals(comparison: Sequence[Row]) -> list[Goal]:
    """Return the goals about NNCodec; ``comparison`` as ``against_nncodec`` has it."""

    def most(codec: str, key: str, pick: Callable[[Iterable[float]], float]) -> float | None:
        found = [row[key] for row in comparison if row["codec"] == codec]
        return pick(found) if found else None

    return [
        Goal("rate-max: error above NNCodec's at equal bytes, worst", 0, most("rate-max", "above_db", max), "dB"),
        Goal("rate: error above NNCodec's at equal bytes, worst", 0.7, most("rate", "above_db", max), "dB"),
        Goal("rate: encode over NNCodec's, from 0.25 bit, least", 5, most("rate", "encode_times", min), "x", True),
        Goal("rate: decode over NNCodec's, from 0.25 bit, least", 2, most("rate", "decode_times", min), "x", True),
    ]


def against_nncodec(rows: Rows, sources: Sequence[str], from_bits: float = 0.25) -> list[Row]:
    """Return a row for every source, mode and rate from ``from_bits`` up that NNCodec's sweep covers.

    Its error at the rate that was really paid lies between the points of its sweep, on straight lines in the logarithm;
    where it coded a source in two forms, the one with less error counts. So do its speeds.
    """
    found = []
    for source in sources:
        forms: dict[str, list[Row]] = {}
        for row in rows.get(source, {}).get("nncodec", ()):
            forms.setdefault(row["form"], []).append(row)
        for codec in ("rate", "rate-max"):
            # by what was asked for: what is paid may be a little less
            asked = [row for row in rows.get(source, {}).get(codec, ()) if row["target"] >= from_bits]
            best = [_best(forms.values(), row["bits"]) for row in asked]
            found += [_compared(source, row, *pair) for row, pair in zip(asked, best, strict=True) if pair is not None]
    return found


def _best(forms: Iterable[Sequence[Row]], bits: float) -> tuple[float, Row] | None:
    """Return the least error of the forms at a rate, and the row nearest to the rate in that form."""
    errors = [(error, form) for form in forms if (error := nmse_at(form, bits)) is not None]
    if not errors:
        return None
    error, form = min(errors, key=lambda pair: pair[0])
    return error, min(form, key=lambda row: abs(float(row["bits"]) - bits))


def _compared(source: str, row: Row, error: float, near: Row) -> Row:
    return {
        "source": source,
        "codec": row["codec"],
        "bits": row["bits"],
        "nmse": row["nmse"],
        "nncodec_nmse": error,
        "above_db": 10 * math.log10(row["nmse"] / error),
        "encode_times": row["encode_mb_s"] / near["encode_mb_s"],
        "decode_times": row["decode_mb_s"] / near["decode_mb_s"],
    }
