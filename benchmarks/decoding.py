"""How fast sentences are translated: ``python -m benchmarks.decoding [--json]``.

Greedy decoding of a Transformer of 3 + 3 layers and of a student of 3 + 1, of random weights, in PyTorch and ONNX
Runtime, in fp32 and int8, all with cached keys and values. The baseline is ONNX Runtime at fp32 of the dense model.
Each round gives every way one turn, in random order, and ratios are medians of those within rounds. Every way decodes
the same number of tokens of the same sources, on one thread, and what is timed is processor time: a busy machine
changes it little.

The table is about time alone; ``benchmarks.translation`` measures a trained model, with BLEU.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from fedcomp.latency import interleaved
from fedcomp.runtimes.decoding import CachedDecoder, Decoder, RecomputingDecoder, Tokens, greedy
from fedcomp.runtimes.decoding_onnx import OnnxDecoder, export_decoder, quantize_decoder
from fedcomp.tasks.models.transformer import Transformer, TransformerShape
from fedcomp.tasks.sources.subwords import Mark
from fedcomp.threads import single_thread

_BASELINE, _EAGER = "dense, ONNX Runtime fp32", "dense, PyTorch"
_CHECKED = 4


@dataclass(frozen=True)
class Material:
    """What is decoded: two models, and sources ``[n, s]``."""

    dense: Transformer
    student: Transformer
    source: Tokens


@dataclass(frozen=True)
class Row:
    """One way to decode: milliseconds a batch, and speed against both baselines."""

    name: str
    batch: int
    milliseconds: float
    speed_up: float
    quartiles: tuple[float, float]
    eager_speed_up: float
    kilobytes: float | None
    same_tokens: float
    """Share of tokens that equal those of the same model, run anew for every token in PyTorch."""


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    torch.set_num_threads(1)
    material = made_up(asked.width, asked.vocabulary)
    ways, kilobytes = decoders(material)
    with single_thread():
        rows = [
            row
            for batch in asked.batch
            for row in measure(material, ways, kilobytes, batch, asked.tokens, asked.rounds)
        ]
    print(json.dumps([asdict(row) for row in rows], indent=1) if asked.json else table(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16], help="sentences decoded together")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of a source and of its translation")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each way, at least 7")
    parser.add_argument("--width", type=int, default=256, help="width of the random models")
    parser.add_argument("--vocabulary", type=int, default=4000, help="tokens that the random models know")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def made_up(width: int, vocabulary: int, length: int = 48, rows: int = 64) -> Material:
    """Return random models in the sizes of the task ``translation`` and random sources."""
    shapes = [
        TransformerShape(
            vocabulary, length, length, Mark.PAD, width, heads=width // 32, hidden=4 * width, decoder_layers=layers
        )
        for layers in (3, 1)
    ]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        dense, student = (Transformer(shape).eval() for shape in shapes)
    source = np.random.default_rng(0).integers(len(Mark), vocabulary, (rows, length))
    return Material(dense, student, source)


def decoders(material: Material) -> tuple[dict[str, Decoder], dict[str, float]]:
    """Return every way by name, and the kilobytes of the files of those that have some."""
    ways: dict[str, Decoder] = {}
    kilobytes = {}
    for name, module in (("dense", material.dense), ("student", material.student)):
        ways[f"{name}, PyTorch"] = CachedDecoder(module)
        files = export_decoder(module, material.source[:2])
        for number_format, content in (("fp32", files), ("int8", quantize_decoder(files))):
            way = f"{name}, ONNX Runtime {number_format}"
            ways[way] = OnnxDecoder(content)
            kilobytes[way] = (len(content.start) + len(content.step)) / 1000
    return ways, kilobytes


def measure(
    material: Material,
    ways: dict[str, Decoder],
    kilobytes: dict[str, float],
    batch: int,
    tokens: int,
    rounds: int,
) -> list[Row]:
    """Return a row for each way, decoding ``tokens`` tokens of ``batch`` sources cut to as many."""
    source = np.ascontiguousarray(material.source[:batch, :tokens])
    longest = min(tokens, material.dense.target_length)

    def once(way: Decoder) -> Tokens:
        return greedy(way, source, begin=Mark.BEGIN, end=Mark.END, longest=longest, stop_early=False)

    taken = interleaved(
        {name: (lambda way=way: once(way)) for name, way in ways.items()},
        _BASELINE,
        rounds=rounds,
        rng=np.random.default_rng(0),
        clock=time.process_time,
    )
    return [
        Row(
            name,
            batch,
            round(taken[name].milliseconds, 3),
            round(taken[name].ratio, 2),
            tuple(round(quartile, 2) for quartile in taken[name].ratio_quartiles),
            round(taken[name].ratio_to(taken[_EAGER])[1], 2),
            kilobytes.get(name),
            _same_tokens(material, name, way),
        )
        for name, way in ways.items()
    ]


def _same_tokens(material: Material, name: str, way: Decoder) -> float:
    module = material.dense if name.startswith("dense") else material.student
    source, longest = material.source[:_CHECKED], module.target_length
    naive = RecomputingDecoder(module, longest, Mark.PAD)
    left, right = (greedy(one, source, begin=Mark.BEGIN, end=Mark.END, longest=longest) for one in (way, naive))
    return round(float((left == right).mean()), 4)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text."""
    lines = [f"{'':<28}{'batch':>6}{'ms':>10}{'x ORT fp32 [quartiles]':>26}{'x eager':>9}{'kB':>9}{'same':>8}"]
    for row in rows:
        ratio = f"{row.speed_up:.2f} [{row.quartiles[0]:.2f} .. {row.quartiles[1]:.2f}]"
        size = "-" if row.kilobytes is None else f"{row.kilobytes:.0f}"
        lines.append(
            f"{row.name:<28}{row.batch:>6}{row.milliseconds:>10.2f}{ratio:>26}{row.eager_speed_up:>9.2f}{size:>9}"
            f"{row.same_tokens:>8.3f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
