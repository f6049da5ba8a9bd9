"""The order of a pipeline, and whether it is sound.

A pipeline is a sequence of steps on the client and one on the server. ``check_order`` walks both and tracks what is
true of the update at each point: whether it is noised, whether its norm is bounded, whether it is encoded and sealed.
A step that needs what is not true there is a problem, in words. This is where compression, clipping, noise and
encryption are kept in an order in which the privacy claim holds; the reasons are in ``docs/threat-model.md``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

Mode = Literal["none", "local", "central", "distributed"]


class Step(StrEnum):
    """What can happen to an update between training and the server's optimizer."""

    TRAIN = "train"
    DP_TRAIN = "train with DP-SGD"
    RESIDUAL = "add residual"
    CLIP = "clip"
    ROTATE = "public rotation"
    ROUND = "round to the grid"
    NOISE_SHARE = "add noise share"
    ENCODE = "encode"
    MASK = "mask"
    SEAL = "seal"
    OPEN = "open"
    DECODE = "decode"
    UNMASK = "unmask"
    SUM = "unweighted sum"
    WEIGHTED_SUM = "weighted sum"
    NOISE = "add noise"
    OPTIMIZE = "server optimizer"


@dataclass(frozen=True)
class Order:
    """The steps of one round, and whether the codec's choices (support, scale, table, length) follow the data."""

    client: tuple[Step, ...]
    server: tuple[Step, ...]
    data_dependent_codec: bool = False


@dataclass(frozen=True)
class _Truth:
    mode: Mode
    trained: bool = False
    noised: bool = False
    bounded: bool = False
    encoded: bool = False
    sealed: bool = False
    masked: bool = False
    on_grid: bool = False
    released_shape: bool = False
    summed: bool = False
    optimized: bool = False
    problems: tuple[str, ...] = field(default=())

    @property
    def private(self) -> bool:
        return self.mode != "none"

    @property
    def carries_share(self) -> bool:
        return self.mode == "distributed" and self.noised and not self.summed

    def but(self, problem: str) -> "_Truth":
        return replace(self, problems=(*self.problems, problem))


def sound_order(
    mode: Mode, *, sealed: bool = True, data_dependent_codec: bool = False, weighted: bool = False
) -> Order:
    """Return the one sound order of ``mode``; ``weighted`` and unsealed payloads are for ``check_order`` to judge."""
    seal, opened = ((Step.SEAL,), (Step.OPEN,)) if sealed else ((), ())
    total = Step.WEIGHTED_SUM if weighted else Step.SUM
    client: dict[str, tuple[Step, ...]] = {
        "none": (Step.TRAIN, Step.ENCODE, *seal),
        "local": (Step.DP_TRAIN, Step.ENCODE, *seal),
        "central": (Step.TRAIN, Step.CLIP, Step.ENCODE, *seal),
        "distributed": (
            *(Step.TRAIN, Step.CLIP, Step.ROTATE, Step.CLIP, Step.ROUND, Step.NOISE_SHARE),
            *(Step.MASK, *seal),
        ),
    }
    server: dict[str, tuple[Step, ...]] = {
        "none": (*opened, Step.DECODE, total, Step.OPTIMIZE),
        "local": (*opened, Step.DECODE, total, Step.OPTIMIZE),
        "central": (*opened, Step.DECODE, Step.CLIP, total, Step.NOISE, Step.OPTIMIZE),
        "distributed": (*opened, total, Step.UNMASK, Step.OPTIMIZE),
    }
    return Order(client[mode], server[mode], data_dependent_codec)


def check_order(mode: Mode, order: Order) -> tuple[str, ...]:
    """Return every reason why ``order`` is unsound under ``mode``; none if it is sound."""
    truth = _Truth(mode)
    for step in order.client:
        truth = _CLIENT.get(step, _unexpected)(truth, step, order)
    truth = _leave(truth)
    for step in order.server:
        if truth.optimized:
            truth = truth.but(f"{step}: after the server optimizer, which has used the sum already")
        truth = _SERVER.get(step, _unexpected)(truth, step, order)
    if not truth.optimized:
        truth = truth.but("the sum never reaches the server optimizer")
    if truth.private and not truth.noised:
        truth = truth.but("the server never has a noised sum: no privacy is given")
    return truth.problems


Rule = Callable[[_Truth, Step, Order], _Truth]


def _unexpected(truth: _Truth, step: Step, _: Order) -> _Truth:
    return truth.but(f"{step}: does not belong on this side")


def _values(truth: _Truth, step: Step) -> _Truth:
    """Check what every step needs that computes on an update: values that are there, in the clear, free to change."""
    if not truth.trained:
        truth = truth.but(f"{step}: nothing is trained yet, there is no update")
    if truth.encoded:
        truth = truth.but(f"{step}: of encoded bytes; decode first")
    if truth.masked:
        truth = truth.but(f"{step}: of masked values, which are uniform in a ring; only their sum means something")
    if truth.sealed:
        truth = truth.but(f"{step}: of sealed bytes; open first")
    if truth.carries_share:
        truth = truth.but(f"{step}: after the noise share; the sum of the shares is what is accounted, change none")
    return truth


def _train(truth: _Truth, step: Step, _: Order) -> _Truth:
    if truth.trained:
        truth = truth.but(f"{step}: a second time; bounds and noise are those of another update")
    if step is Step.TRAIN and truth.mode == "local":
        truth = truth.but("train: mode local needs DP-SGD on the client, noise comes before anything else")
    if step is Step.DP_TRAIN and truth.mode != "local":
        truth = truth.but(f"{step}: gives what mode local claims (one example), not what mode {truth.mode} does")
    noised = step is Step.DP_TRAIN and truth.mode == "local"
    return replace(truth, trained=True, noised=noised, bounded=False, on_grid=False)


def _residual(truth: _Truth, step: Step, _: Order) -> _Truth:
    truth = _values(truth, step)
    if truth.bounded:
        truth = truth.but("add residual: after the clip it raises the norm; add it before")
    if truth.mode == "local":
        truth = truth.but("add residual: the residual of a raw update re-releases old examples under mode local")
    return replace(truth, bounded=False, on_grid=False)


def _clip(truth: _Truth, step: Step, _: Order) -> _Truth:
    truth = _values(truth, step)
    if truth.private and truth.summed and not truth.noised:
        return truth.but("clip: of the sum, which bounds no single client's part in it; clip before summing")
    return replace(truth, bounded=True, on_grid=False)


def _rotate(truth: _Truth, step: Step, _: Order) -> _Truth:
    # subsampling after a rotation keeps the norm only in expectation
    return replace(_values(truth, step), bounded=False, on_grid=False)


def _round(truth: _Truth, step: Step, _: Order) -> _Truth:
    truth = _values(truth, step)
    if truth.private and not truth.noised and not truth.bounded:
        truth = truth.but(
            "round to the grid: of an unbounded update; clip first, the rounded norm follows from the clip"
        )
    return replace(truth, on_grid=True)


def _noise_share(truth: _Truth, step: Step, _: Order) -> _Truth:
    truth = _values(truth, step)
    if truth.mode != "distributed":
        return truth.but(f"add noise share: one share alone gives no privacy, and mode {truth.mode} counts on none")
    if not truth.bounded:
        truth = truth.but("add noise share: calibrated to a bound that nothing keeps; clip first")
    if not truth.on_grid:
        truth = truth.but("add noise share: off the grid; round first, noise is drawn on the integers")
    return replace(truth, noised=True)


def _encode(truth: _Truth, _: Step, order: Order) -> _Truth:
    if not truth.trained:
        truth = truth.but("encode: nothing is trained yet, there is no update")
    if truth.encoded:
        truth = truth.but("encode: a second time; encoded bytes do not compress")
    if truth.masked:
        truth = truth.but("encode: masked values are uniform and do not compress; encode before the mask or not at all")
    if truth.sealed:
        truth = truth.but("encode: sealed bytes do not compress; encode before sealing")
    leaks = truth.private and not truth.noised and order.data_dependent_codec
    return replace(truth, encoded=True, bounded=truth.bounded and truth.noised, released_shape=leaks)


def _mask(truth: _Truth, _: Step, __: Order) -> _Truth:
    if truth.masked:
        truth = truth.but("mask: a second time")
    if not truth.on_grid:
        truth = truth.but("mask: of values off the grid; sums of masks cancel exactly only in a ring")
    if truth.encoded:
        truth = truth.but("mask: of entropy-coded bytes; clients must share support, grid and length")
    return replace(truth, masked=True)


def _seal(truth: _Truth, _: Step, __: Order) -> _Truth:
    if truth.sealed:
        truth = truth.but("seal: a second time")
    if not (truth.encoded or truth.masked):
        truth = truth.but("seal: nothing is encoded yet; entropy-code before encrypting, never after")
    return replace(truth, sealed=True)


def _leave(truth: _Truth) -> _Truth:
    if not truth.trained:
        truth = truth.but("nothing is trained: there is no update")
    if not (truth.encoded or truth.masked):
        truth = truth.but("the update leaves the client unencoded")
    if truth.mode == "local" and not truth.noised:
        truth = truth.but("the update leaves the client without noise, and nobody else is trusted under mode local")
    if truth.mode == "distributed" and not (truth.noised and truth.masked):
        truth = truth.but("the update leaves the client without a noise share and a mask under mode distributed")
    if truth.mode == "central" and not truth.sealed:
        truth = truth.but("a raw update leaves the client unsealed: mode central trusts the server, not the wire")
    if truth.released_shape and truth.mode != "central":
        truth = truth.but("encode: support, scale, tables and length of a raw update are releases without noise")
    return truth


def _open(truth: _Truth, _: Step, __: Order) -> _Truth:
    if not truth.sealed:
        truth = truth.but("open: nothing was sealed")
    return replace(truth, sealed=False)


def _decode(truth: _Truth, _: Step, __: Order) -> _Truth:
    if truth.sealed:
        truth = truth.but("decode: of sealed bytes; open first")
    if not truth.encoded:
        truth = truth.but("decode: nothing is encoded")
    return replace(truth, encoded=False)


def _sum(truth: _Truth, step: Step, _: Order) -> _Truth:
    if truth.summed:
        truth = truth.but(f"{step}: of what is a sum already")
    if truth.encoded:
        truth = truth.but(f"{step}: of encoded bytes; decode first")
    if truth.sealed:
        truth = truth.but(f"{step}: of sealed bytes; open first")
    if truth.private and step is Step.WEIGHTED_SUM:
        truth = truth.but("weighted sum: a weight multiplies the sensitivity and releases the number of examples")
    return replace(truth, summed=True)


def _noise(truth: _Truth, step: Step, _: Order) -> _Truth:
    truth = _values(truth, step)
    if not truth.summed:
        truth = truth.but("add noise: before the sum; it is calibrated to the sum and drawn once")
    if not truth.bounded:
        truth = truth.but("add noise: calibrated to a bound that decoding does not keep; clip again after decoding")
    return replace(truth, noised=True)


def _unmask(truth: _Truth, _: Step, __: Order) -> _Truth:
    if not truth.masked:
        truth = truth.but("unmask: nothing was masked")
    if not truth.summed:
        truth = truth.but("unmask: before the sum; one client's update would be seen, with one share of noise at most")
    return replace(truth, masked=False)


def _optimize(truth: _Truth, step: Step, _: Order) -> _Truth:
    truth = _values(truth, step)
    if not truth.summed:
        truth = truth.but("server optimizer: nothing is summed yet")
    if truth.private and not truth.noised:
        truth = truth.but("server optimizer: before the noise; its momentum would carry raw updates into later rounds")
    return replace(truth, optimized=True)


_CLIENT: dict[Step, Rule] = {
    Step.TRAIN: _train,
    Step.DP_TRAIN: _train,
    Step.RESIDUAL: _residual,
    Step.CLIP: _clip,
    Step.ROTATE: _rotate,
    Step.ROUND: _round,
    Step.NOISE_SHARE: _noise_share,
    Step.ENCODE: _encode,
    Step.MASK: _mask,
    Step.SEAL: _seal,
}
_SERVER: dict[Step, Rule] = {
    Step.OPEN: _open,
    Step.DECODE: _decode,
    Step.CLIP: _clip,
    Step.SUM: _sum,
    Step.WEIGHTED_SUM: _sum,
    Step.NOISE: _noise,
    Step.UNMASK: _unmask,
    Step.OPTIMIZE: _optimize,
}
