"""Codecs of other people in plain numpy, each with the bytes it would really send.

A rival is a frozen dataclass with ``encode(values, rng) -> bytes`` and ``decode(bytes) -> values`` on 1-D float32.
Where a paper leaves the entropy coder open or names a weaker one (Elias codes in QSGD, two bits a level in TernGrad),
the rival gets this library's range coder: better bytes than its own. Payloads start with the number of values.
"""

import importlib
import math
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.entropy.stream import read_stream, write_stream
from fedcomp.codecs.stage import Spec

Values = NDArray[np.float32]
_BUCKET = 512
_COUNT = np.dtype("<u4")
_FLOATS = np.dtype("<f4")


class Rival(Protocol):
    """One codec at one setting."""

    def encode(self, values: Values, rng: np.random.Generator) -> bytes:
        """Return the payload, header included."""

    def decode(self, payload: bytes) -> Values:
        """Return the values that a payload stands for."""


@dataclass(frozen=True)
class Qsgd:
    """Stochastic rounding to ``levels`` shares of the norm of each 512 values, range-coded (Alistarh et al. 2017)."""

    levels: int

    def encode(self, values: Values, rng: np.random.Generator) -> bytes:
        """See ``Rival``."""
        buckets = _rows(values, _BUCKET)
        norms = np.sqrt(np.sum(np.square(buckets, dtype=np.float64), axis=1)).astype(np.float32)
        scaled = np.abs(buckets) * (self.levels / np.where(norms > 0, norms, 1))[:, None]
        found = np.floor(scaled + rng.random(scaled.shape, dtype=np.float32))
        signed = np.copysign(found, buckets).astype(np.int32).reshape(-1)[: values.size]
        return _count(values) + _dump(norms) + write_stream([signed])

    def decode(self, payload: bytes) -> Values:
        """See ``Rival``."""
        size, rest = _counted(payload)
        rows = -(-size // _BUCKET)
        norms = np.frombuffer(rest, _FLOATS, rows)
        (levels,) = read_stream(rest[4 * rows :], [Spec(np.dtype(np.int32), size)])
        return _flat(_rows(levels.astype(np.float32), _BUCKET) * (norms / np.float32(self.levels))[:, None], size)


@dataclass(frozen=True)
class TernGrad:
    """Stochastic ternary levels of one scale, values clipped at 2.5 deviations, range-coded (Wen et al. 2017)."""

    def encode(self, values: Values, rng: np.random.Generator) -> bytes:
        """See ``Rival``."""
        limit = np.float32(2.5 * np.std(values))
        clipped = np.clip(values, -limit, limit)
        scale = np.abs(clipped).max(initial=np.finfo(np.float32).tiny)
        kept = rng.random(values.size, dtype=np.float32) * scale < np.abs(clipped)
        levels = (np.sign(clipped) * kept).astype(np.int8)
        return _count(values) + _dump(np.array([scale])) + write_stream([levels])

    def decode(self, payload: bytes) -> Values:
        """See ``Rival``."""
        size, rest = _counted(payload)
        (levels,) = read_stream(rest[4:], [Spec(np.dtype(np.int8), size)])
        return levels * np.frombuffer(rest, _FLOATS, 1)


@dataclass(frozen=True)
class SparseTernary:
    """STC: the largest share ``density`` as plus or minus their mean, Golomb-coded places (Sattler et al. 2019).

    All quotients of the gaps come first (unary), then all remainders, then all signs: the bits are those of the paper's
    codewords, in an order that numpy reads without a loop.
    """

    density: float

    def encode(self, values: Values, rng: np.random.Generator) -> bytes:
        """See ``Rival``."""
        kept = max(round(self.density * values.size), 1)
        border = np.partition(np.abs(values), values.size - kept)[values.size - kept]
        places = np.flatnonzero(np.abs(values) >= border)
        gaps = np.diff(places, prepend=-1) - 1
        width = _golomb_width(len(places) / values.size)
        ends = np.cumsum((gaps >> width) + 1)
        unary = np.zeros(int(ends[-1]), dtype=np.uint8)
        unary[ends - 1] = 1
        mean = np.mean(np.abs(values[places]), dtype=np.float64)
        header = np.array([len(places), len(unary)], _COUNT).tobytes() + _dump(np.array([mean]))
        bits = [unary, _to_bits(gaps, width), (values[places] < 0).astype(np.uint8)]
        return _count(values) + header + np.packbits(np.concatenate(bits)).tobytes()

    def decode(self, payload: bytes) -> Values:
        """See ``Rival``."""
        size, rest = _counted(payload)
        kept, length = (int(number) for number in np.frombuffer(rest, _COUNT, 2))
        width, mean = _golomb_width(kept / size), np.frombuffer(rest, _FLOATS, 1, 8)
        bits = np.unpackbits(np.frombuffer(rest, np.uint8, offset=12))
        quotients = np.diff(np.flatnonzero(bits[:length]), prepend=-1) - 1
        gaps = (quotients << width) + _from_bits(bits[length : length + kept * width], width)
        values = np.zeros(size, dtype=np.float32)
        signs = bits[length + kept * width :][:kept].astype(np.float32)
        values[np.cumsum(gaps + 1) - 1] = mean * (1 - 2 * signs)
        return values


@dataclass(frozen=True)
class NormalFloat:
    """nf4: sixteen quantiles of a Gaussian times the largest magnitude of each block (Dettmers et al. 2023)."""

    block: int = 64

    def encode(self, values: Values, rng: np.random.Generator) -> bytes:
        """See ``Rival``."""
        rows = _rows(values, self.block)
        scales = np.abs(rows).max(axis=1)
        borders = (_NF4[1:] + _NF4[:-1]) / 2
        scaled = rows / np.maximum(scales, np.finfo(np.float32).tiny)[:, None]
        codes = np.searchsorted(borders, scaled.reshape(-1)).astype(np.uint8)[: values.size]
        codes = np.append(codes, np.zeros(len(codes) % 2, np.uint8))
        return _count(values) + _dump(scales) + bytes(codes[::2] << 4 | codes[1::2])

    def decode(self, payload: bytes) -> Values:
        """See ``Rival``."""
        size, rest = _counted(payload)
        rows = -(-size // self.block)
        scales, pairs = np.frombuffer(rest, _FLOATS, rows), np.frombuffer(rest, np.uint8, offset=4 * rows)
        values = _NF4[np.stack([pairs >> 4, pairs & 15], axis=1).reshape(-1)[:size]]
        return _flat(_rows(values, self.block) * scales[:, None], size)


@dataclass(frozen=True)
class BlockInt8:
    """int8 times the largest magnitude of each block over 127 (Dettmers et al. 2022, with linear levels)."""

    block: int

    def encode(self, values: Values, rng: np.random.Generator) -> bytes:
        """See ``Rival``."""
        rows = _rows(values, self.block)
        scales = np.maximum(np.abs(rows).max(axis=1) / np.float32(127), np.finfo(np.float32).tiny)
        levels = np.rint(rows / scales[:, None]).astype(np.int8).reshape(-1)[: values.size]
        return _count(values) + _dump(scales) + bytes(levels)

    def decode(self, payload: bytes) -> Values:
        """See ``Rival``."""
        size, rest = _counted(payload)
        rows = -(-size // self.block)
        levels = np.frombuffer(rest, np.int8, size, 4 * rows).astype(np.float32)
        return _flat(_rows(levels, self.block) * np.frombuffer(rest, _FLOATS, rows)[:, None], size)


@dataclass(frozen=True)
class ZippedHalves:
    """float16, then zstd at its default level where ``zstandard`` is installed, else zlib (``ZIP`` says which)."""

    def encode(self, values: Values, rng: np.random.Generator) -> bytes:
        """See ``Rival``."""
        halves = values.astype("<f2").tobytes()
        packed: bytes = (
            zlib.compress(halves) if _zstandard() is None else _zstandard().ZstdCompressor().compress(halves)
        )
        return _count(values) + packed

    def decode(self, payload: bytes) -> Values:
        """See ``Rival``."""
        _, rest = _counted(payload)
        zstandard = _zstandard()
        halves = zlib.decompress(rest) if zstandard is None else zstandard.ZstdDecompressor().decompress(bytes(rest))
        return np.frombuffer(halves, "<f2").astype(np.float32)


@cache
def _zstandard() -> Any:
    try:
        return importlib.import_module("zstandard")
    except ImportError:
        return None


ZIP = "zlib (zstandard is not installed)" if _zstandard() is None else "zstd"
"""What ``ZippedHalves`` packs with."""

_NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
        *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
        *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ],
    dtype=np.float32,
)


def _count(values: Values) -> bytes:
    return np.array([values.size], _COUNT).tobytes()


def _dump(floats: NDArray[np.floating]) -> bytes:
    return bytes(floats.astype(_FLOATS).tobytes())


def _counted(payload: bytes) -> tuple[int, memoryview]:
    return int(np.frombuffer(payload, _COUNT, 1)[0]), memoryview(payload)[4:]


def _rows(values: Values, width: int) -> Values:
    """Return the values in rows, the last one filled with zeros."""
    missing = -values.size % width
    return np.append(values, np.zeros(missing, np.float32)).reshape(-1, width) if missing else values.reshape(-1, width)


def _flat(rows: Values, size: int) -> Values:
    return rows.reshape(-1)[:size]


def _golomb_width(density: float) -> int:
    """Return the bits of a remainder that suit gaps of this density (Sattler et al. 2019, equation 15)."""
    golden = (math.sqrt(5) + 1) / 2
    return 0 if density >= 1 else max(1 + math.floor(math.log2(math.log(golden - 1) / math.log1p(-density))), 0)


def _to_bits(numbers: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """Return the lowest bits of every number, the highest of them first, as one array of 0 and 1."""
    shifts = np.arange(width - 1, -1, -1)
    return (numbers[:, None] >> shifts & 1).astype(np.uint8).reshape(-1)


def _from_bits(bits: NDArray[np.uint8], width: int) -> NDArray[np.int64]:
    if not width:
        return np.zeros(1, dtype=np.int64)
    return bits.reshape(-1, width).astype(np.int64) @ (1 << np.arange(width - 1, -1, -1))
