"""How near codecs come to the rate-distortion bound, in real payload bytes on one core; ours beside everybody's.

``python -m benchmarks.codecs`` prints four tables (error at each rate, equal error on mixed scales, speed and memory,
and the goals with "holds" or "misses by"); ``--json FILE`` writes all of it. NNCodec takes part once ``--with-nncodec``
has built it. Sizes are ``len(payload)``, headers included; every gap is to the bound at the rate that was really paid.
Speeds are by the processor time of one core, so that what else runs on a machine does not count.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import codec_nncodec
from benchmarks.codec_goals import (
    Goal,
    against_nncodec,
    distortion_goals,
    equal_distortion_goals,
    nncodec_goals,
    speed_goals,
)
from benchmarks.codec_measure import CODECS, ENCODER_SEED, Ours, Row, nmse_at, rate_config
from benchmarks.codec_rivals import ZIP
from benchmarks.codec_sources import LAYERS, SOURCES, Source, draw
from benchmarks.codec_speed import RATES as SPEED_RATES
from benchmarks.codec_speed import contestants, peak_ratio, speeds
from fedcomp.errors import ConfigError

RATES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SOURCE_SEED = 0
EXTRAS = ("nncodec", "speed", "memory")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_FULL, _QUICK = 15_625 * LAYERS, 1_600 * LAYERS


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    _use_one_core()
    started = time.perf_counter()
    if asked.with_nncodec:
        codec_nncodec.install()
    notes = [f"fp16-zip packs with {ZIP}"] if "fp16-zip" in asked.only else []
    sources = {name: draw(name, asked.size, SOURCE_SEED) for name in asked.sources}
    rows = {name: _rows(source, asked, notes) for name, source in sources.items()}
    equal = _equal_distortion(sources["mixed"], rows["mixed"]) if "mixed" in rows else {}
    comparison = against_nncodec(rows, [name for name in SOURCES[:4] if name in rows])
    speed = _speed(asked, rows, notes) if "speed" in asked.only else []
    memory = _memory(asked, notes) if "memory" in asked.only else {}
    goals = [*distortion_goals(rows), *equal_distortion_goals(equal), *nncodec_goals(comparison)]
    goals += speed_goals(speed, memory)
    notes = list(dict.fromkeys(notes))
    seconds = time.perf_counter() - started
    for table in (_equal_table(equal, comparison), _speed_table(speed, memory, asked), _goal_table(goals, asked)):
        print("\n" + "\n".join(table))
    print("\n".join(["", *(f"note: {note}" for note in notes), f"{seconds:.0f} s on one core"]))
    if asked.json:
        content = {
            "settings": {key: value for key, value in vars(asked).items() if key != "json"},
            "seeds": {"source": SOURCE_SEED, "encoder": ENCODER_SEED},
            "rows": rows,
            "equal_distortion": equal,
            "against_nncodec": comparison,
            "speed": speed,
            "memory": memory,
            "goals": [vars(goal) | {"verdict": goal.verdict()} for goal in goals],
            "notes": notes,
            "seconds": seconds,
        }
        asked.json.write_text(json.dumps(content, indent=1) + "\n")


def _use_one_core() -> None:
    """Pin this process to one core; start it anew if numpy was loaded with more threads than one."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if any(os.environ.get(name) != value for name, value in _ONE_THREAD.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **_ONE_THREAD})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codecs", description=__doc__.partition("\n")[0])
    names = [*CODECS, *EXTRAS]
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument(
        "--quick", action="store_true", help="102,400 values, three rates: under a minute, not for goals"
    )
    parser.add_argument("--sources", nargs="+", choices=SOURCES, metavar="NAME")
    parser.add_argument("--rates", nargs="+", type=float, help="bits a value")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--with-nncodec", action="store_true", help="build NNCodec in the user's cache if it is not there"
    )
    asked = parser.parse_args()
    asked.sources = asked.sources or list(SOURCES[:4] if asked.quick else SOURCES)
    asked.size = _QUICK if asked.quick else _FULL
    asked.rates = sorted(asked.rates or (RATES[1::3] if asked.quick else RATES))
    return asked


def _rows(source: Source, asked: argparse.Namespace, notes: list[str]) -> dict[str, list[Row]]:
    """Measure every codec on one source, print as it goes, and return the rows."""
    bounds = "  ".join(f"{bits:g}: {source.bound(bits):.3g}" for bits in asked.rates)
    print(f"\n{source.name}: {source.values.size:,} float32 values, seed {source.seed}; bound on the error at {bounds}")
    print(
        f"{'codec':<15}{'setting':<22}{'bytes':>10}{'bits':>9}{'NMSE':>11}{'gap, dB':>9}{'encode':>9}{'decode':>9} MB/s"
    )
    found: dict[str, list[Row]] = {}
    for name, function in CODECS.items():
        if name in asked.only:
            try:
                found[name] = function(source, asked.rates)
            except ConfigError as error:
                notes.append(f"{name} left out: {error}")
                continue
            _print_rows(found[name])
    if "nncodec" in asked.only:
        if codec_nncodec.interpreter() is None:
            notes.append("nncodec left out: it is not installed; --with-nncodec builds it (two minutes)")
        else:
            # starting it takes longer than coding little
            if asked.quick and source.name != "mixed":
                return found
            found["nncodec"] = codec_nncodec.sweep(
                source, codec_nncodec.settings(source, quick=asked.quick), by_layer=not asked.quick
            )
            _print_rows(found["nncodec"])
    return found


def _print_rows(rows: Sequence[Row]) -> None:
    for row in rows:
        figures = f"{row['bytes']:>10,}{row['bits']:>9.4f}{row['nmse']:>11.4g}{row['gap_db']:>9.2f}"
        speeds_ = f"{row['encode_mb_s']:>9.0f}{row['decode_mb_s']:>9.0f}"
        print(f"{row['codec']:<15}{row['setting']:<22}{figures}{speeds_}", flush=True)


def _equal_distortion(source: Source, rows: dict[str, list[Row]]) -> dict[str, Any]:
    """Return how many times the bytes of ``rate`` others take for their error, and its gain over rotation."""
    ours = rows.get("rate", [])
    if not ours:
        return {}
    others = {f"{row['codec']} {row['setting']}": row for name in ("nf4", "int8") for row in rows.get(name, ())}
    ratios = {name: row["bits"] / _bits_for(source, ours, row["nmse"]) for name, row in others.items()}
    gains = {}
    for row in rows.get("eden", ()):
        error = nmse_at(ours, row["bits"])
        if error is not None:
            gains[f"{row['target']:g}"] = 10 * math.log10(row["nmse"] / error)
    return {"byte_ratio": ratios, "gain_over_eden_db": gains}


def _bits_for(source: Source, ours: Sequence[Row], nmse: float) -> float:
    """Return the real bits a value at which ``rate`` has an error of at most ``nmse``: searched, coded and decoded."""
    low, high, paid = 0.0, 16.0, math.inf
    for row in sorted(ours, key=lambda row: float(row["target"])):
        low, high = (row["target"], high) if row["nmse"] > nmse else (low, min(high, row["target"]))
    for _ in range(7):
        bits = (low + high) / 2
        rival = Ours(rate_config(bits))
        payload = rival.encode(source.values, np.random.default_rng(ENCODER_SEED))
        if source.nmse(rival.decode(payload)) <= nmse:
            high, paid = bits, 8 * len(payload) / source.values.size
        else:
            low = bits
    return paid


def _speed(asked: argparse.Namespace, rows: dict[str, dict[str, list[Row]]], notes: list[str]) -> list[Row]:
    """Time ours, two rivals and NNCodec on ten times the values."""
    rivals = contestants(notes)
    found = []
    for name in ("mixed",) if asked.quick else ("gaussian", "mixed"):
        source = draw(name, 10 * asked.size, SOURCE_SEED)
        found += speeds(source, rivals, repeats=1 if asked.quick else 3)
        swept = rows.get(name, {}).get("nncodec", [])
        if swept:
            found += codec_nncodec.timed_at(source, swept, SPEED_RATES)
    return found


def _memory(asked: argparse.Namespace, notes: list[str]) -> dict[str, float]:
    found = {}
    for name, config in {"rate": rate_config(1.0), "rate-max": rate_config(1.0, mode="max")}.items():
        try:
            Ours(config)
        except ConfigError as error:
            notes.append(f"memory of {name} left out: {error}")
            continue
        found[name] = peak_ratio(config, draw("gaussian", 10 * asked.size, SOURCE_SEED))
    return found


def _equal_table(equal: dict[str, Any], comparison: Sequence[Row]) -> list[str]:
    lines = ["equal error, mixed scales: bytes of others over the bytes of rate, searched and coded"]
    lines += [f"    {name:<20}{ratio:>7.2f} times" for name, ratio in equal.get("byte_ratio", {}).items()]
    lines.append("equal bytes, mixed scales: error of rotation (EDEN) over that of rate")
    lines += [f"    at {bits:<6} bits{gain:>12.2f} dB" for bits, gain in equal.get("gain_over_eden_db", {}).items()]
    lines.append("equal bytes, error above that of NNCodec (negative: less error), and speed over its speed")
    for row in comparison:
        times = f"encode {row['encode_times']:>6.1f} x  decode {row['decode_times']:>6.1f} x"
        lines.append(
            f"    {row['source']:<12}{row['codec']:<10}{row['bits']:>8.4f} bits{row['above_db']:>8.2f} dB  {times}"
        )
    return lines


def _speed_table(speed: Sequence[Row], memory: dict[str, float], asked: argparse.Namespace) -> list[str]:
    lines = [f"speed, {10 * asked.size:,} values, MB/s of fp32, median of the turns"]
    lines.append(f"{'codec':<24}{'source':<12}{'bits':>8}{'encode':>9}{'decode':>9}{'turns':>7}")
    for row in speed:
        figures = f"{row['bits']:>8.3f}{row['encode_mb_s']:>9.0f}{row['decode_mb_s']:>9.0f}{row['turns']:>7}"
        lines.append(f"{row['codec']:<24}{row['source']:<12}{figures}")
    for name, ratio in memory.items():
        lines.append(f"{name} 1 bit: encoding allocates at its peak {ratio:.2f} times the input (which comes on top)")
    return lines


def _goal_table(goals: Sequence[Goal], asked: argparse.Namespace) -> list[str]:
    return [f"goals{' (--quick: too few values to judge by)' if asked.quick else ''}", *(goal.line() for goal in goals)]


if __name__ == "__main__":
    main()
