"""A second decoder, written from docs/wire-format.md in plain Python: slow, obvious, the oracle for the fast one."""

import struct

WORD64 = 2**64 - 1


def philox_words(seed: int, domain: int, count: int) -> list[int]:
    words: list[int] = []
    block = 0
    while len(words) < count:
        block += 1
        counter, key = [block, 0, 0, 0], [seed, domain]
        for _ in range(10):
            high0, low0 = divmod(0xD2E7470EE14C6C93 * counter[0], 2**64)
            high1, low1 = divmod(0xCA5A826395121157 * counter[2], 2**64)
            counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
            key = [(key[0] + 0x9E3779B97F4A7C15) & WORD64, (key[1] + 0xBB67AE8584CAA73B) & WORD64]
        for output in counter:
            words += [output % 2**32, output // 2**32]
    return words[:count]


def leb128(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value += (data[at] % 128) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def slots_of(frequencies: list[int], group: int) -> list[int]:
    if group == 1:
        return [2 * frequency for frequency in frequencies]
    products = [frequency * 2**18 for frequency in frequencies]
    for _ in range(group - 1):
        products = [product * frequency // 2**14 for product in products for frequency in frequencies]
    slots = [(product + 2**16) // 2**17 for product in products]
    rare = sum(product for product, slot in zip(products, slots, strict=True) if slot == 0)
    escape = max(1, (rare + 2**16) // 2**17)
    while (excess := sum(slots) - (2**15 - escape)) != 0:
        order = sorted(range(len(slots)), key=lambda index: (-slots[index], index))
        order = [index for index in order if slots[index] > (1 if excess > 0 else 0)]
        share = max(1, abs(excess) // len(order))
        for index in order[: abs(excess)]:
            slots[index] += -min(share, slots[index] - 1) if excess > 0 else share
    return [*slots, escape]


class Part:
    """One array of mode 1: everything but what the lanes hold."""

    def __init__(self, data: bytes, at: int, length: int) -> None:
        self.length = length
        self.low_bits, self.group, self.alphabet = struct.unpack_from("<BBH", data, at)
        num_escaped, at = leb128(data, at + 4)
        frequencies: list[int] = []
        while len(frequencies) < self.alphabet:
            frequency, at = leb128(data, at)
            frequencies.append(frequency)
            if frequency == 0:
                zeros, at = leb128(data, at)
                frequencies += [0] * zeros
        self.slots = slots_of(frequencies, self.group)
        self.escaped = list(struct.unpack_from(f"<{num_escaped}H", data, at))
        at += 2 * num_escaped
        size = -(-self.length * self.low_bits // 8)
        self.low = int.from_bytes(data[at : at + size], "little")
        self.end = at + size

    def numbers(self, entries: list[int]) -> list[int]:
        symbols: list[int] = []
        for entry in entries:
            index = self.escaped.pop(0) if self.group > 1 and entry == self.alphabet**self.group else entry
            symbols += [index // self.alphabet**place % self.alphabet for place in range(self.group - 1, -1, -1)]
        mask = 2**self.low_bits - 1
        return [
            symbol * 2**self.low_bits + (self.low >> (self.low_bits * index) & mask)
            for index, symbol in enumerate(symbols[: self.length])
        ]


def coded_stream(data: bytes, lengths: list[int], verbatim_sizes: list[int]) -> list[list[int] | bytes]:
    """The unsigned numbers of every array of a coded stream, or its bytes where it is verbatim."""
    lanes, num_words = struct.unpack_from("<HI", data)
    at = 6
    parts: list[Part | bytes] = []
    for length, size in zip(lengths, verbatim_sizes, strict=True):
        if data[at] == 0:
            parts.append(data[at + 1 : at + 1 + size])
            at += 1 + size
        else:
            part = Part(data, at + 1, length)
            parts.append(part)
            at = part.end
    states = list(struct.unpack_from(f"<{lanes}I", data, at))
    words = list(struct.unpack_from(f"<{num_words}H", data, at + 4 * lanes))
    arrays: list[list[int] | bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            arrays.append(part)
            continue
        entry_at = [entry for entry, slot in enumerate(part.slots) for _ in range(slot)]
        starts = [sum(part.slots[:entry]) for entry in range(len(part.slots))]
        entries = []
        for group in range(-(-part.length // part.group)):
            state = states[group % lanes]
            offset = state % 2**15
            entry = entry_at[offset]
            entries.append(entry)
            state = part.slots[entry] * (state // 2**15) + offset - starts[entry]
            states[group % lanes] = state if state >= 2**16 else state * 2**16 + words.pop(0)
        arrays.append(part.numbers(entries))
    assert not words
    assert set(states) <= {2**16}
    return arrays
