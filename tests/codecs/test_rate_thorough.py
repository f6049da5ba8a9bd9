"""Mode max: goals met from below and nearly used up, in one go and little memory; fast where that is better."""

import tracemalloc

import numpy as np
import pytest

from fedcomp.codecs.rate import thorough
from fedcomp.codecs.rate.control import Goal
from fedcomp.codecs.rate.thorough import decode_max, encode_max

SIZE = 2**17 + 2**12
RNG = np.random.default_rng(5)
GAUSSIAN = RNG.standard_normal(SIZE).astype(np.float32)
MIXED = (GAUSSIAN * np.repeat(2.0 ** RNG.uniform(-8, 0, SIZE // 2**12), 2**12)).astype(np.float32)


def error(values: np.ndarray, payload: bytes) -> float:
    decoded = decode_max(memoryview(payload), len(values)) if payload else np.zeros_like(values)
    return float(np.sum(np.square(values.astype(np.float64) - decoded)))


@pytest.mark.parametrize(("values", "bits"), [(GAUSSIAN, 0.5), (MIXED, 1.0), (GAUSSIAN, 3.0), (MIXED, 8.0)])
def test_bytes_are_met_from_below_and_used_up(values: np.ndarray, bits: float) -> None:
    size = bits * len(values) / 8
    payload = encode_max(values, Goal(size, None))
    assert payload[:1] == b"\1"
    assert (0.98 if bits < 1 else 0.99) * size <= len(payload) <= size
    assert payload == encode_max(values, Goal(size, None))


@pytest.mark.parametrize(("values", "nmse"), [(GAUSSIAN, 0.4), (MIXED, 0.01), (GAUSSIAN, 1e-6)])
def test_an_error_is_met_from_below_and_used_up(values: np.ndarray, nmse: float) -> None:
    most = nmse * float(np.sum(np.square(values, dtype=np.float64)))
    assert 0.96 * most <= error(values, encode_max(values, Goal(None, most))) <= most


def test_one_way_alone_is_tried_where_it_is_clearly_better(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise AssertionError("this way need not be tried")

    with monkeypatch.context() as patched:
        patched.setattr(thorough, "encode_fast", refuse)
        assert encode_max(GAUSSIAN, Goal(SIZE / 4, None))[:1] == b"\1"
    heavy = RNG.standard_t(3, SIZE).astype(np.float32)
    with monkeypatch.context() as patched:
        patched.setattr(thorough, "search", refuse)
        assert encode_max(heavy, Goal(0.15 * SIZE / 8, None))[:1] == b"\0"


def test_both_ways_are_tried_where_estimates_tell_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few values, values of a grid, and scales that change within a block."""
    tried = []
    monkeypatch.setattr(thorough, "encode_fast", lambda *given: tried.append(len(given[0])) or b"")
    uneven = GAUSSIAN * np.resize(np.repeat([0.05, 1.0], 64), SIZE)
    for values in (GAUSSIAN[:5000], np.rint(4 * GAUSSIAN), uneven):
        assert encode_max(values.astype(np.float32), Goal(len(values) / 4, None))[:1] == b"\1"
    assert tried == [5000, SIZE, SIZE]


def test_values_of_a_grid_are_better_off_with_fast() -> None:
    values = RNG.choice(np.array([-1, 0, 0, 1], dtype=np.float32), SIZE)
    payload = encode_max(values, Goal(SIZE / 4, None))
    assert payload[:1] == b"\0"
    assert error(values, payload) < 1e-6 * SIZE


def test_outliers_do_not_keep_small_errors_from_being_met() -> None:
    values = GAUSSIAN.copy()
    values[1234] = 2.0**8
    assert error(values, encode_max(values, Goal(None, 3e-11 * SIZE))) <= 3e-11 * SIZE


@pytest.mark.parametrize("bits", [0.5, 4.0])
def test_encoding_takes_at_most_three_times_the_input(bits: float) -> None:
    values = np.tile(GAUSSIAN, 4)[:-100]
    tracemalloc.start()
    assert encode_max(values, Goal(bits * len(values) / 8, None))[:1] == b"\1"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 3 * values.nbytes


def test_what_is_nothing_but_zeros_has_no_bytes() -> None:
    assert encode_max(np.zeros(5000, dtype=np.float32), Goal(100.0, None)) == b""
    assert encode_max(GAUSSIAN[:5000], Goal(None, 1e9)) == b""
    assert encode_max(GAUSSIAN, Goal(1.5, None)) == b""
