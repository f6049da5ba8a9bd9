"""Model files: what is written comes back, and what is damaged is refused by name."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedcomp.errors import RunError
from fedcomp.shrink import load_arrays, save_arrays

ARRAYS = {
    "z.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.array([np.inf, -0.0, np.nan], np.float16),
    "count": np.array(7, np.int64),
    "none": np.zeros((0, 4), np.float64),
}


def test_round_trip_keeps_names_order_shapes_dtypes_and_bits(tmp_path):
    path = tmp_path / "model.safetensors"
    size = save_arrays(path, ARRAYS, {"task": "digits"})
    arrays, metadata = load_arrays(path)
    assert size == path.stat().st_size
    assert metadata == {"task": "digits"}
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


def test_arrays_that_do_not_lie_in_order_are_written_by_value(tmp_path):
    turned = ARRAYS["z.weight"].T
    save_arrays(tmp_path / "m", {"w": turned})
    np.testing.assert_array_equal(load_arrays(tmp_path / "m")[0]["w"], turned)


def test_others_can_read_it(tmp_path):
    save_arrays(tmp_path / "m", ARRAYS)
    assert set(safetensors.numpy.load_file(tmp_path / "m")) == set(ARRAYS)


def test_objects_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="'bad': expected numbers, got object"):
        save_arrays(tmp_path / "m", {"bad": np.array([None])})


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    with pytest.raises(RunError, match="cannot write"):
        save_arrays(tmp_path / "missing" / "m", ARRAYS)


def hostile(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


HOSTILE = {
    "empty": b"",
    "short": b"\x01\x02",
    "not json": hostile(b"{nonsense"),
    "huge header": struct.pack("<Q", 2**62) + b"{}",
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.",
    "outside": hostile({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}}, bytes(8)),
    "a shape that lies": hostile({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]}}, bytes(8)),
    "unknown dtype": hostile({"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "bfloat16": hostile({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
    "no order": safetensors.numpy.save({"a": np.zeros(2, np.float32)}),
    "wrong order": safetensors.numpy.save({"a": np.zeros(2, np.float32)}, {"fedcomp.names": '["a", "b"]'}),
    "twice": safetensors.numpy.save({"a": np.zeros(2, np.float32)}, {"fedcomp.names": '["a", "a"]'}),
    "order no list": safetensors.numpy.save({"a": np.zeros(2, np.float32)}, {"fedcomp.names": '{"a": 1}'}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_by_name(tmp_path, kind):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[kind])
    with pytest.raises(RunError, match=r"hostile\.safetensors"):
        load_arrays(path)


def test_missing_file_and_directory(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(RunError, match=str(path)):
            load_arrays(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_loads_or_is_refused_and_nothing_else(tmp_path, place, value, cut):
    path = tmp_path / "m"
    save_arrays(path, ARRAYS)
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place] = value
    path.write_bytes(content[:place] if cut else content)
    refusal = ""
    try:
        load_arrays(path)
    except RunError as error:
        refusal = str(error)
    assert (str(path) in refusal) if cut else (not refusal or str(path) in refusal)
