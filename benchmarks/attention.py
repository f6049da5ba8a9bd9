"""From which length on sparse attention pays on a CPU: ``python -m benchmarks.attention [--json] [--rounds 7]``.

One forward pass of attention alone (8 heads of 32 channels, made-up values, one thread), full, in a window, and to the
best keys. Ratios are medians within rounds of full attention's time over the sparse one's; above 1 the sparse one is
faster. Processor time, so that a busy machine changes it little.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from fedcomp.latency import interleaved
from fedcomp.tasks.models.attention import Attention, Full, TopK, Windowed

_HEADS, _WIDTH = 8, 32
KINDS: dict[str, Attention] = {
    "full": Full(),
    "window 16": Windowed(16),
    "window 32": Windowed(32),
    "window 64": Windowed(64),
    "top 8": TopK(8),
}


@dataclass(frozen=True)
class Row:
    """One kind at one length: milliseconds, and full attention's time over it."""

    kind: str
    length: int
    causal: bool
    milliseconds: float
    speed_up: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=__doc__.partition("\n")[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 64, 128, 256, 512, 1024, 2048])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each kind, at least 7")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    rows = [
        row for causal in (False, True) for length in asked.lengths for row in measure(length, causal, asked.rounds)
    ]
    print(json.dumps([asdict(row) for row in rows], indent=1) if asked.json else table(rows))


def measure(length: int, causal: bool, rounds: int) -> list[Row]:
    """Return a row for each kind, on one text of ``length`` places; not causal, as in an encoder, keys have a bias."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, _HEADS, length, _WIDTH, generator=generator) for _ in range(3))
    bias = None if causal else torch.zeros(1, 1, 1, length)

    def once(kind: Attention) -> torch.Tensor:
        with torch.inference_mode():
            return kind(query, key, value, bias, causal)

    programs = {name: (lambda kind=kind: once(kind)) for name, kind in KINDS.items()}
    taken = interleaved(programs, "full", rounds=rounds, rng=np.random.default_rng(0), clock=time.process_time)
    return [Row(name, length, causal, round(one.milliseconds, 4), round(one.ratio, 2)) for name, one in taken.items()]


def table(rows: Sequence[Row]) -> str:
    """Return the ratios as text, and the milliseconds of full attention."""
    lines = [f"{'':<8}{'length':>8}{'full, ms':>10}" + "".join(f"{name:>11}" for name in KINDS if name != "full")]
    for causal in (False, True):
        for length in sorted({row.length for row in rows if row.causal == causal}):
            found = {row.kind: row for row in rows if (row.causal, row.length) == (causal, length)}
            ratios = "".join(f"{found[name].speed_up:>10.2f}x" for name in KINDS if name != "full")
            side = "decoder" if causal else "encoder"
            lines.append(f"{side:<8}{length:>8}{found['full'].milliseconds:>10.3f}{ratios}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
