"""Speed of codecs side by side on one core, and the memory that encoding takes."""

import time
import tracemalloc
from collections.abc import Mapping
from statistics import median

import numpy as np

from benchmarks.codec_eden import Eden
from benchmarks.codec_measure import ENCODER_SEED, Config, Ours, Row, rate_config
from benchmarks.codec_rivals import BlockInt8, Rival
from benchmarks.codec_sources import Source
from fedcomp.errors import ConfigError

RATES = (0.1, 1.0, 4.0)
_SLOW = ("rate-max",)


def contestants(notes: list[str]) -> dict[str, Rival]:
    """Return what is timed, by name and rate; what the library cannot build yet is left out with a note."""
    configs: dict[str, Config] = {f"rate {bits:g} bit": rate_config(bits) for bits in RATES}
    configs |= {f"rate-max {bits:g} bit": rate_config(bits, mode="max") for bits in RATES}
    configs |= {"rate-dither 1 bit": rate_config(1.0, dither=True), "rotate 1 bit": [{"id": "rotate", "bit_width": 1}]}
    built: dict[str, Rival] = {}
    for name, config in configs.items():
        try:
            built[name] = Ours(config)
        except ConfigError as error:
            notes.append(f"speed of {name} left out: {error}")
    return built | {"eden 1 bit": Eden(1), "int8 block 4096": BlockInt8(4096)}


def speeds(source: Source, rivals: Mapping[str, Rival], repeats: int) -> list[Row]:
    """Return MB/s of fp32, each the median over rounds in which every codec has one turn; slow codecs have one in all.

    One call on a tenth of the values goes before, so that no first call pays for tables that are kept.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
    sizes = dict.fromkeys(rivals, 0)
    for rival in rivals.values():
        rival.decode(rival.encode(source.values[: source.values.size // 10], np.random.default_rng(ENCODER_SEED)))
    for turn in range(repeats):
        for name, rival in rivals.items():
            if turn and name.startswith(_SLOW):
                continue
            started = time.process_time()
            payload = rival.encode(source.values, np.random.default_rng(ENCODER_SEED))
            encoded = time.process_time()
            rival.decode(payload)
            seconds[name].append((encoded - started, time.process_time() - encoded))
            sizes[name] = len(payload)
    megabytes = 4e-6 * source.values.size
    return [
        {
            "codec": name,
            "source": source.name,
            "bits": 8 * sizes[name] / source.values.size,
            "encode_mb_s": megabytes / median(encode for encode, _ in turns),
            "decode_mb_s": megabytes / median(decode for _, decode in turns),
            "turns": len(turns),
        }
        for name, turns in seconds.items()
    ]


def peak_ratio(config: Config, source: Source) -> float:
    """Return the peak of what encoding allocates, numpy's arrays included, over the bytes of the input, which is held.

    Traced by tracemalloc: what an import or an earlier call left in the process does not count, as it would in the
    resident peak.
    """
    ours = Ours(config)
    ours.encode(source.values[:4096], np.random.default_rng(ENCODER_SEED))
    tracemalloc.start()
    ours.encode(source.values, np.random.default_rng(ENCODER_SEED))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / source.values.nbytes
