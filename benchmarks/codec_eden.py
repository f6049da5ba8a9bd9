"""EDEN (Vargaftik et al. 2022; at one bit DRIVE, 2021): rotate at random, take a Gaussian's best levels, rescale."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
_BLOCK = 4096


@dataclass(frozen=True)
class Eden:
    """Blocks of 4,096 under a randomised Hadamard transform, ``bit_width`` bits for a random share of the coordinates.

    ``unbiased`` takes the scale whose expectation over rotations is right, else the one of least squared error. The
    last block is filled up to a power of two. Rotation and share follow from a seed in the payload.
    """

    bit_width: int
    density: float = 1.0
    unbiased: bool = False

    def encode(self, values: Values, rng: np.random.Generator) -> bytes:
        """Return count, seed, a scale a block, and the packed codes."""
        seed = int(rng.integers(2**32))
        rotated = _rotate(_padded(values), _signs(seed, _padded_size(values.size)))
        mask = self._mask(seed, rotated.size)
        levels = lloyd_max(self.bit_width)
        spread = _block_sums(np.square(rotated))
        gains = np.sqrt(_lengths(rotated.size) / np.maximum(spread, np.finfo(np.float32).tiny))
        sized = _per_block(rotated, gains)
        codes = (sized > 0) if self.bit_width == 1 else np.searchsorted((levels[1:] + levels[:-1]) / 2, sized)
        found = levels[codes.astype(np.intp)]
        chosen = found if mask is None else found * mask
        inner = _block_sums(rotated * chosen)
        whole = (inner, spread) if self.unbiased else (_block_sums(chosen * chosen), inner)
        scales = np.divide(whole[1], whole[0], out=np.zeros_like(inner), where=whole[0] > 0)
        kept = codes if mask is None else codes[mask]
        header = np.array([values.size, seed], "<u4").tobytes()
        return header + bytes(scales.astype("<f4").tobytes()) + _pack(kept, self.bit_width)

    def decode(self, payload: bytes) -> Values:
        """Return the values that a payload stands for."""
        size, seed = (int(number) for number in np.frombuffer(payload, "<u4", 2))
        padded = _padded_size(size)
        blocks = len(_lengths(padded))
        mask = self._mask(seed, padded)
        count = padded if mask is None else int(np.count_nonzero(mask))
        codes = _unpack(memoryview(payload)[8 + 4 * blocks :], self.bit_width, count)
        kept = lloyd_max(self.bit_width)[codes]
        rotated = kept if mask is None else np.zeros(padded, np.float32)
        if mask is not None:
            rotated[mask] = kept
        return _rotate_back(_per_block(rotated, np.frombuffer(payload, "<f4", blocks, 8)), _signs(seed, padded))[:size]

    def _mask(self, seed: int, size: int) -> NDArray[np.bool_] | None:
        if self.density >= 1:
            return None
        drawn: Values = np.random.default_rng([seed, 1]).random(size, dtype=np.float32)
        return drawn < np.float32(self.density)


@cache
def lloyd_max(bit_width: int) -> Values:
    """Return the 2**bit_width levels of least squared error for a standard Gaussian, rising (Lloyd 1957; Max 1960)."""
    count = 2**bit_width
    grid = np.linspace(-9, 9, 200_001)
    mass = np.exp(-grid * grid / 2)
    totals, moments = np.append(0, np.cumsum(mass)), np.append(0, np.cumsum(mass * grid))
    # companding starts close: levels as dense as the cube root of the density
    wide = np.cumsum(np.exp(-grid * grid / 6))
    levels: NDArray[np.floating] = grid[np.searchsorted(wide, (np.arange(count) + 0.5) / count * wide[-1])]
    for _ in range(500):
        ends = np.concatenate([[0], np.searchsorted(grid, (levels[1:] + levels[:-1]) / 2), [grid.size]])
        levels = np.diff(moments[ends]) / np.diff(totals[ends])
    return np.asarray(levels, dtype=np.float32)


def _padded_size(size: int) -> int:
    rest = size % _BLOCK
    return size - rest + (1 << (rest - 1).bit_length() if rest else 0)


def _lengths(padded: int) -> NDArray[np.int64]:
    full, rest = divmod(padded, _BLOCK)
    return np.array([_BLOCK] * full + [rest] * (rest > 0), dtype=np.int64)


def _padded(values: Values) -> Values:
    return np.append(values, np.zeros(_padded_size(values.size) - values.size, np.float32))


def _signs(seed: int, size: int) -> Values:
    octets = np.frombuffer(np.random.default_rng(seed).bytes(-(-size // 8)), np.uint8)
    return np.unpackbits(octets, count=size).astype(np.float32) * np.float32(2) - np.float32(1)


def _parts(values: Values) -> list[Values]:
    """Return the full blocks as rows, and what is left as one row."""
    full = values.size - values.size % _BLOCK
    return [part for part in (values[:full].reshape(-1, _BLOCK), values[None, full:]) if part.size]


def _rotate(values: Values, signs: Values) -> Values:
    return np.concatenate([_hadamard(part).reshape(-1) for part in _parts(values * signs)])


def _rotate_back(values: Values, signs: Values) -> Values:
    return np.concatenate([_hadamard(part).reshape(-1) for part in _parts(values)]) * signs


def _hadamard(rows: Values) -> Values:
    """Return the orthonormal Walsh-Hadamard transform of every row, as two products with small matrices."""
    width = rows.shape[1]
    left = 1 << (width.bit_length() - 1) // 2
    cube = rows.reshape(-1, left, width // left)
    return np.asarray(_matrix(left) @ cube @ _matrix(width // left))


@cache
def _matrix(size: int) -> Values:
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return (matrix / math.sqrt(size)).astype(np.float32)


def _block_sums(values: Values) -> Values:
    return np.concatenate([part.sum(axis=1) for part in _parts(values)])


def _per_block(values: Values, factors: Values) -> Values:
    """Return every block times its factor."""
    starts = np.cumsum([0] + [len(part) for part in _parts(values)])
    scaled = [
        (part * factors[at : at + len(part), None].astype(np.float32)).reshape(-1)
        for at, part in zip(starts, _parts(values), strict=False)
    ]
    return np.concatenate(scaled)


def _pack(codes: NDArray[np.integer] | NDArray[np.bool_], width: int) -> bytes:
    bits = codes.astype(np.uint8)[:, None] >> np.arange(width, dtype=np.uint8) & 1 if width > 1 else codes
    return np.packbits(bits).tobytes()


def _unpack(data: memoryview, width: int, count: int) -> NDArray[np.intp]:
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * width).reshape(count, width)
    return bits @ (1 << np.arange(width, dtype=np.intp)) if width > 1 else bits[:, 0].astype(np.intp)
