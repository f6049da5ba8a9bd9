"""Ways to decode translations: what they take beside each other, and what their translations are worth."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.paired_bleu import paired_bleu
from benchmarks.translation_models import Small, Taken
from fedcomp.latency import Latency, interleaved
from fedcomp.rng import stream
from fedcomp.runtimes.decoding import CachedDecoder, Decoder, Tokens, greedy
from fedcomp.runtimes.decoding_onnx import OnnxDecoder, export_decoder, quantize_decoder
from fedcomp.tasks.sources.subwords import Mark

BASELINE, EAGER = "dense, fp32", "dense, PyTorch"


@dataclass(frozen=True)
class Way:
    """A way to decode, and the kilobytes of its files; None where it is no file. Embeddings are in both files."""

    decoder: Decoder
    kilobytes: float | None = None


@dataclass(frozen=True)
class Row:
    """One way in one batch size: time of a text, and medians of ratios within rounds with quartiles of the first.

    ``bleu`` is that of its translations in such batches, ``lost`` what they lose against those of the dense model in
    fp32, with the 95 % interval of the paired bootstrap.
    """

    way: str
    batch: int
    milliseconds: float
    speed_up: float
    quartiles: tuple[float, float]
    eager_speed_up: float
    kilobytes: float | None
    bleu: float
    lost: float
    interval: tuple[float, float]


def decoders(smalls: Sequence[Small], taken: Taken) -> dict[str, Way]:
    """Return each model in ONNX Runtime, in fp32 and int8, after the dense one in PyTorch."""
    ways = {EAGER: Way(CachedDecoder(taken.dense))}
    for small in smalls:
        files = export_decoder(small.module, taken.source[:2])
        for number_format, content in (("fp32", files), ("int8", quantize_decoder(files))):
            size = (len(content.start) + len(content.step)) / 1e3
            ways[f"{small.name}, {number_format}"] = Way(OnnxDecoder(content), size)
    return ways


def measure(ways: Mapping[str, Way], taken: Taken, batch: int, rounds: int, texts: int, whole: bool) -> list[Row]:
    """Return a row for each way, by BLEU on all rows and time on so many ``texts``, drawn at random.

    A batch takes as many steps as the dense model needs for it; with ``whole``, as many as a translation has places,
    and its sources keep their padding.
    """
    longest = taken.dense.target_length
    found = {name: _translations(way.decoder, taken, batch) for name, way in ways.items()}
    rng = stream(taken.seed, "benchmark", "texts")
    chosen = rng.permutation(len(taken.source))[:texts]
    work = [
        (taken.source[rows], longest) if whole else (source, _steps(ways[BASELINE].decoder, source, longest))
        for rows, source in _batches(taken.source, chosen, batch)
    ]
    times = interleaved(
        {name: (lambda way=way: _decode(way.decoder, work)) for name, way in ways.items()},
        BASELINE,
        rounds=rounds,
        rng=rng,
        clock=time.process_time,
    )
    return [_row(name, ways[name], batch, times, found, taken, len(chosen)) for name in ways]


def _row(
    name: str,
    way: Way,
    batch: int,
    times: Mapping[str, Latency],
    found: Mapping[str, list[str]],
    taken: Taken,
    texts: int,
) -> Row:
    mine = times[name]
    scores = paired_bleu(found[BASELINE], found[name], taken.references, stream(taken.seed, "benchmark", "bootstrap"))
    return Row(
        way=name,
        batch=batch,
        milliseconds=mine.milliseconds / texts,
        speed_up=mine.ratio,
        quartiles=mine.ratio_quartiles,
        eager_speed_up=mine.ratio_to(times[EAGER])[1],
        kilobytes=way.kilobytes,
        bleu=scores.second,
        lost=scores.lost,
        interval=scores.interval,
    )


def _translations(decoder: Decoder, taken: Taken, batch: int) -> list[str]:
    everything = np.arange(len(taken.source))
    rows: list[Tokens] = []
    for _, source in _batches(taken.source, everything, batch):
        rows += list(greedy(decoder, source, begin=Mark.BEGIN, end=Mark.END, longest=taken.dense.target_length))
    return taken.task.subwords.decode(rows)


def _batches(source: Tokens, chosen: Tokens, batch: int) -> Iterator[tuple[Tokens, Tokens]]:
    """Yield numbers of rows and their sources, without the places that are padding in all of them."""
    for start in range(0, len(chosen), batch):
        rows = chosen[start : start + batch]
        used = int((source[rows] != Mark.PAD).sum(axis=1).max())
        yield rows, np.ascontiguousarray(source[rows, :used])


def _steps(decoder: Decoder, source: Tokens, longest: int) -> int:
    """Return how many tokens a decoder says until every row has ended."""
    found = greedy(decoder, source, begin=Mark.BEGIN, end=Mark.END, longest=longest)
    return min(longest, int((found != Mark.END).sum(axis=1).max()) + 1)


def _decode(decoder: Decoder, work: Sequence[tuple[Tokens, int]]) -> None:
    for source, steps in work:
        greedy(decoder, source, begin=Mark.BEGIN, end=Mark.END, longest=steps, stop_early=False)
