"""The server's optimizer, and the chain of released models that clients follow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.aggregation import ServerModel
from fedcomp.arrays import Arrays, ArraysError, digest, l2_norm, subtract
from fedcomp.codecs import PayloadError, codec_from_config
from fedcomp.codecs.deltas import apply_deltas


class Coarse:
    """A lossy codec: values rounded to a step, as int8 levels; knows names and shapes by heart."""

    def __init__(self, like: Arrays, step: float) -> None:
        self.like, self.step = like, step

    def encode(self, arrays: Arrays) -> bytes:
        levels = [np.clip(np.rint(array / self.step), -127, 127).astype(np.int8) for array in arrays.values()]
        return b"".join(level.tobytes() for level in levels)

    def decode(self, payload: bytes) -> Arrays:
        values = np.frombuffer(payload, np.int8).astype(np.float32) * np.float32(self.step)
        if values.size != sum(array.size for array in self.like.values()):
            raise PayloadError("wrong size")
        arrays, at = {}, 0
        for name, array in self.like.items():
            arrays[name] = values[at : at + array.size].reshape(array.shape)
            at += array.size
        return arrays


def update(seed: int, size: float = 0.1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "w": (size * rng.standard_normal((3, 4))).astype(np.float32),
        "b": np.asarray(size * rng.standard_normal(), np.float32),
    }


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 2), st.floats(0, 0.99), st.integers(1, 6))
def test_steps_are_those_of_a_plain_loop(learning_rate, momentum, rounds):
    server = ServerModel.initial(update(0))
    model, velocity = update(0), {"w": np.zeros((3, 4), np.float32), "b": np.zeros((), np.float32)}
    for number in range(rounds):
        mean = update(number + 1)
        server = server.step(mean, learning_rate=learning_rate, momentum=momentum)
        for name in model:
            velocity[name] = np.float32(momentum) * velocity[name] + mean[name]
            model[name] = model[name] + np.float32(learning_rate) * velocity[name]
    assert digest(server.model) == digest({name: np.asarray(array) for name, array in model.items()})
    assert digest(server.velocity) == digest({name: np.asarray(array) for name, array in velocity.items()})
    assert server.version == 0, "a step alone releases nothing"
    assert digest(server.released) == digest(update(0))


def test_an_update_of_another_model_is_refused():
    server = ServerModel.initial(update(0))
    with pytest.raises(ArraysError, match="expected arrays named"):
        server.step({"w": update(0)["w"]}, learning_rate=1.0, momentum=0.0)


def run(rounds: int, codec: Coarse, keep: int) -> list[ServerModel]:
    server = ServerModel.initial(update(0))
    history = [server]
    for number in range(1, rounds + 1):
        server = server.step(update(number), learning_rate=1.0, momentum=0.5)
        server = server.release(codec.encode, codec.decode, keep=keep)
        history.append(server)
    return history


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_whoever_follows_the_deltas_holds_what_is_released_to_the_bit(data):
    codec = Coarse(update(0), step=0.07)
    history = run(12, codec, keep=5)
    held = 0
    model: Arrays = history[0].released
    while held < 12:
        ahead = data.draw(st.integers(held + 1, min(held + 5, 12)))
        deltas = history[ahead].deltas_since(held)
        assert deltas is not None
        assert len(deltas) == ahead - held
        model, held = apply_deltas(model, deltas, codec.decode), ahead
        assert digest(model) == digest(history[held].released)
    assert digest(model) != digest(history[12].model), "the codec is lossy, so this test says something"


def test_following_in_another_order_does_not_give_what_is_released():
    """The control: sums of float32 depend on their order, so equal digests are no accident."""
    codec = Coarse(update(0), step=0.07)
    last = run(12, codec, keep=12)[-1]
    backwards = tuple(reversed(last.deltas))
    assert digest(apply_deltas(update(0), last.deltas, codec.decode)) == digest(last.released)
    assert digest(apply_deltas(update(0), backwards, codec.decode)) != digest(last.released)


def test_what_coding_loses_goes_out_later_and_does_not_pile_up():
    codec = Coarse(update(0), step=0.5)
    lost, plain = [], update(0)
    for before, after in zip(history := run(200, codec, keep=1), history[1:], strict=False):
        lost.append(max(float(np.abs(array).max()) for array in subtract(after.model, after.released).values()))
        moved = codec.decode(codec.encode(subtract(after.model, before.model)))
        plain = {name: np.asarray(array + moved[name]) for name, array in plain.items()}
    assert max(lost) <= 0.25 + 1e-5, "never more than half a step"
    assert l2_norm(subtract(history[-1].model, plain)) > 4, "the control: coding each step alone drifts away"


@pytest.mark.parametrize(("keep", "kept"), [(0, 0), (1, 1), (3, 3), (10, 6)])
def test_no_more_deltas_are_kept_than_asked(keep, kept):
    codec = Coarse(update(0), step=0.07)
    history = run(6, codec, keep)
    assert len(history[-1].deltas) == kept
    assert [server.version for server in history] == list(range(7))


@pytest.mark.parametrize(
    ("held", "count"),
    [(6, 0), (5, 1), (3, 3), (2, None), (0, None), (-1, None), (-100, None), (7, None), (10**30, None)],
)
def test_deltas_since(held, count):
    last = run(6, Coarse(update(0), step=0.07), keep=3)[-1]
    deltas = last.deltas_since(held)
    assert (None if deltas is None else len(deltas)) == count
    if count:
        assert deltas == last.deltas[-count:]


def test_before_the_first_release_there_is_nothing_to_follow():
    server = ServerModel.initial(update(0))
    assert server.deltas_since(0) == ()
    assert server.deltas_since(-1) is None
    assert server.deltas_since(1) is None


def test_a_real_codec_keeps_the_chain_too():
    codec = codec_from_config([{"id": "float16"}])
    server = ServerModel.initial(update(0))
    rng = np.random.default_rng(0)
    for number in range(1, 5):
        server = server.step(update(number), learning_rate=1.0, momentum=0.9)
        server = server.release(lambda delta: codec.encode(delta, rng), codec.decode, keep=4)
    assert digest(apply_deltas(update(0), server.deltas, codec.decode)) == digest(server.released)


def test_a_delta_that_does_not_fit_is_refused():
    codec = Coarse(update(0), step=0.07)
    with pytest.raises(PayloadError, match="wrong size"):
        apply_deltas(update(0), [b"\1"], codec.decode)
    with pytest.raises(ArraysError, match="expected arrays named"):
        apply_deltas({"other": np.ones(2, np.float32)}, run(1, codec, 1)[-1].deltas, codec.decode)
    base = update(0)
    assert digest(apply_deltas(base, (), codec.decode)) == digest(base)
