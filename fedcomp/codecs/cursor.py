"""Takes bytes off the front of hostile data, and never more than there are."""

import struct

from fedcomp.codecs.base import PayloadError


class Cursor:
    """A position in data from anywhere; every read that would pass the end raises ``PayloadError``."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes have not been taken."""
        return len(self._data) - self._at

    def take(self, count: int) -> memoryview:
        """Return the next ``count`` bytes without a copy."""
        if count > self.left:
            raise PayloadError(f"expected {count} more bytes at offset {self._at}, got {self.left}")
        self._at += count
        return self._data[self._at - count : self._at]

    def unpack(self, record: struct.Struct) -> tuple[int, ...]:
        """Return the fields of the next record."""
        return record.unpack(self.take(record.size))

    def number(self) -> int:
        """Return the next LEB128 number of at most 28 bits; written in the fewest bytes, or it is refused."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                if byte == 0 and shift:
                    break
                return value
        raise PayloadError(f"a number at offset {self._at} has more than 28 bits or is not in its shortest form")

    def finish(self) -> None:
        """Refuse bytes that nobody has taken."""
        if self.left:
            raise PayloadError(f"expected the end of the data, got {self.left} more bytes")


def dump_number(value: int) -> bytes:
    """Return a number of at most 28 bits as LEB128: seven bits a byte, the lowest first."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])
