import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.errors import DataError
from fedcomp.tasks.idx import read_idx
from tasks.idx_files import idx_bytes

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def written(tmp_path, content):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    return path


def test_values_come_back(tmp_path):
    np.testing.assert_array_equal(read_idx(written(tmp_path, idx_bytes(VALUES)), (None, 3, 4)), VALUES)


HEADER = bytes([0, 0, 8, 3])
SIZES = np.array([2, 3, 4], ">u4").tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX header"),
        (b"not gzip", "expected a gzip-compressed IDX file"),
        (idx_bytes(VALUES)[:-12], "expected a gzip-compressed IDX file"),
        (gzip.compress(HEADER[:2], mtime=0), "expected an IDX header 00000803 with 3 dimensions, got 0000"),
        (idx_bytes(VALUES, magic=bytes([0, 0, 13, 3])), "expected an IDX header 00000803 .* got 00000d03"),
        (idx_bytes(VALUES[0]), "expected an IDX header 00000803 .* got 00000802"),
        (idx_bytes(VALUES.reshape(2, 4, 3)), r"expected values of shape \['n', 3, 4\], got \[2, 4, 3\]"),
        (idx_bytes(VALUES[:0]), r"expected values of shape \['n', 3, 4\], got \[0, 3, 4\]"),
        (gzip.compress(HEADER + SIZES + bytes(23), mtime=0), r"expected 24 bytes of values for \[2, 3, 4\], got 23"),
        (gzip.compress(HEADER + SIZES + bytes(25), mtime=0), r"expected 24 bytes of values for \[2, 3, 4\], got more"),
        (gzip.compress(HEADER + b"\xff" * 12, mtime=0), r"expected values of shape \['n', 3, 4\], got \[4294967295"),
    ],
    ids=range(11),  # the bytes themselves are no name for a test
)
def test_damage_is_refused_by_name(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=message) as refusal:
        read_idx(path, (None, 3, 4))
    assert str(path) in str(refusal.value)


def test_a_file_that_unpacks_to_more_than_its_header_says_is_not_unpacked(tmp_path):
    bomb = gzip.compress(HEADER + SIZES + bytes(200_000_000), compresslevel=1)
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(DataError, match="got more"):
        read_idx(written(tmp_path, bomb), (None, 3, 4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"absent\.gz"):
        read_idx(tmp_path / "absent.gz", (None,))


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_gives_data_error_or_the_same_values(tmp_path_factory, position, bit):
    content = bytearray(idx_bytes(VALUES))
    content[position % len(content)] ^= 1 << bit
    path = written(tmp_path_factory.mktemp("flip"), bytes(content))
    try:
        values = read_idx(path, (None, 3, 4))
    except DataError:
        return
    np.testing.assert_array_equal(values, VALUES)  # the flip was in gzip's unused header fields
