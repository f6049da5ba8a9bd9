"""A second reader of the payload of rate, mode fast, written from docs/wire-format.md in plain Python."""

import struct

import numpy as np
from slow_decoder import leb128, philox_words, slots_of


def with_sum(slots: list[int], total: int) -> list[int]:
    while (excess := sum(slots) - total) != 0:
        order = sorted(range(len(slots)), key=lambda index: (-slots[index], index))
        order = [index for index in order if slots[index] > (1 if excess > 0 else 0)]
        share = max(1, abs(excess) // len(order))
        for index in order[: abs(excess)]:
            slots[index] += -min(share, slots[index] - 1) if excess > 0 else share
    return slots


def masses(hazards: bytes, top: int) -> list[int]:
    left, found = 2**30, []
    for magnitude in range(top):
        q = hazards[min(magnitude, len(hazards) - 1)] if hazards else 0
        following = left * (q**2 * 2**16 // (q**2 + (256 - q) ** 2)) // 2**16
        found.append(left - following)
        left = following
    return [*found, left]


def frequencies_of(mass: list[int]) -> list[int]:
    return with_sum([max(1, (part + 2**15) // 2**16) for part in mass], 2**14)


def unfold(number: int) -> int:
    return number // 2 if number % 2 == 0 else -(number + 1) // 2


class Bits:
    """Numbers of some bits, the lowest first."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, width: int, count: int) -> list[int]:
        size = -(-width * count // 8)
        packed = int.from_bytes(self.data[self.at : self.at + size], "little")
        assert self.at + size <= len(self.data)
        assert packed < 2 ** (width * count)
        self.at += size
        return [packed >> (width * index) & (2**width - 1) for index in range(count)]


class Lanes:
    """The lanes of the range coder."""

    def __init__(self, states: list[int], words: list[int]) -> None:
        self.states, self.words, self.taken = states, words, 0

    def read(self, slots: list[int], count: int) -> list[int]:
        entry_at = [entry for entry, slot in enumerate(slots) for _ in range(slot)]
        starts = [sum(slots[:entry]) for entry in range(len(slots))]
        total, entries = sum(slots), []
        for group in range(count):
            lane = group % len(self.states)
            state = self.states[lane]
            offset = state % total
            entry = entry_at[offset]
            entries.append(entry)
            state = slots[entry] * (state // total) + offset - starts[entry]
            if state < 2**16:
                state = state * 2**16 + self.words[self.taken]
                self.taken += 1
            self.states[lane] = state
        return entries


def read_table(data: bytes, at: int) -> tuple[tuple[int, int, int, int, list[int]], int]:
    top, at = leb128(data, at)
    if top == 0:
        return (0, 1, 0, 1, []), at
    low_bits, group, kind = data[at] // 16, data[at] % 16 + 1, data[at + 1]
    at += 2
    octaves = 1
    if kind & 64:
        octaves, at = data[at], at + 1
    if kind & 128:
        frequencies: list[int] = []
        while len(frequencies) < top + octaves:
            frequency, at = leb128(data, at)
            frequencies.append(frequency)
            if frequency == 0:
                zeros, at = leb128(data, at)
                frequencies += [0] * zeros
    else:
        count = kind % 64
        frequencies = frequencies_of(masses(data[at : at + count], top + octaves - 1))
        at += count
    return (top, octaves, low_bits, group, frequencies), at


def read_fast(data: bytes, size: int, dither: bool) -> np.ndarray:
    """The float32 values of a payload."""
    if not data:
        return np.zeros(size, dtype=np.float32)
    head, last, step = struct.unpack_from("<BBf", data)
    block, count, at = 2 ** (5 + head % 8), last + 1, 6
    if dither:
        (seed,), at = struct.unpack_from("<Q", data, at), at + 8
    else:
        shifts, at = struct.unpack_from("<3b", data, at), at + 3
    if count > 1:
        hazards, at = data[at + 1 : at + 1 + data[at]], at + 1 + data[at]
    tables, thinnings = [], []
    for _ in range(count):
        thinning, same = (data[at] % 32, data[at] // 32) if dither else (0, 0)
        at += dither
        if thinning == 31:
            table = (0, 1, 0, 1, [])
        elif same:
            table = next(table for table, j in zip(tables[::-1], thinnings[::-1], strict=True) if j != 31)
        else:
            table, at = read_table(data, at)
        tables.append(table)
        thinnings.append(thinning)
    lanes, at = leb128(data, at)
    states = list(struct.unpack_from(f"<{lanes}I", data, at))
    at += 4 * lanes
    coder = Lanes(states, [int.from_bytes(data[i : i + 2], "little") for i in range(at, len(data) - 1, 2)])

    blocks = -(-size // block)
    classes = [0] * blocks
    if count > 1:
        half = count // 2
        mass = masses(hazards, half)
        signed = [mass[0]] + [part // 2 for part in mass[1:] for _ in range(2)]
        before = 0
        for index, number in enumerate(coder.read(frequencies_of(signed), blocks)):
            classes[index] = before = (unfold(number) + (before if head & 8 else half)) % count
    places = [
        [i for b in range(blocks) if classes[b] == k for i in range(b * block, min((b + 1) * block, size))]
        for k in range(count)
    ]
    coded = [False] * size
    for k, j in enumerate(thinnings):
        if j == 31:
            places[k] = []
        elif j:
            count = -(-len(places[k]) // 2**j)
            drawn = [g * 2**j + w // 2 ** (32 - j) for g, w in enumerate(philox_words(seed, 6 + 256 * k, count))]
            places[k] = [places[k][i] if i < len(places[k]) else None for i in drawn]
        for i in places[k]:
            if i is not None:
                coded[i] = True
    entries = [
        coder.read(slots_of(table[4], table[3]) if table[3] > 1 else table[4], -(-len(where) // table[3]))
        if table[0]
        else []
        for table, where in zip(tables, places, strict=True)
    ]
    beside = Bits(b"".join((s - 2**16).to_bytes(2, "little") for s in coder.states) + data[at + 2 * coder.taken :])
    levels = [0] * size
    for (top, octaves, low_bits, group, frequencies), where, found in zip(tables, places, entries, strict=True):
        if not top:
            continue
        alphabet, symbols = len(frequencies), []
        rare = sum(entry == alphabet**group for entry in found) if group > 1 else 0
        escaped = beside.take((alphabet**group - 1).bit_length(), rare)
        for entry in found:
            index = escaped.pop(0) if group > 1 and entry == alphabet**group else entry
            symbols += [index // alphabet**place % alphabet for place in range(group - 1, -1, -1)]
        assert not any(symbols[len(where) :])
        symbols = symbols[: len(where)]
        wide = {e: beside.take(e, symbols.count(top + e)) for e in range(1, octaves)}
        sizes = [y if y <= top else top - 1 + 2 ** (y - top) + wide[y - top].pop(0) for y in symbols]
        if low_bits:
            low = beside.take(low_bits, len(where))
            decoded = [unfold(x * 2**low_bits + rest) for x, rest in zip(sizes, low, strict=True)]
        else:
            signs = beside.take(1, sum(x > 0 for x in sizes))
            decoded = [-x if x and signs.pop(0) else x for x in sizes]
        for place, level in zip(where, decoded, strict=True):
            if place is not None:
                levels[place] = level
    assert not any(beside.data[beside.at :])
    scale = np.float32(step)
    if dither:
        shift = [(2 * (w // 256) + 1 - 2**24) * 2.0**-25 for w in philox_words(seed, 2, size)]
        return np.array(
            [
                (np.float32(level) + np.float32(u)) * scale if sent else 0
                for level, u, sent in zip(levels, shift, coded, strict=True)
            ],
            np.float32,
        )
    moved = [256 * k + (1 if k > 0 else -1) * (shifts[min(abs(k), 3) - 1] if k else 0) for k in levels]
    return np.array([np.float32(k) * np.float32(scale * np.float32(2.0**-8)) for k in moved], np.float32)
