"""How long programs take beside each other: times taken apart, or one after the other, do not compare.

On a shared machine the same call takes 1.5 ms now and 11.9 ms an hour later. What holds is the ratio of two programs
that ran within the same second, so each round gives every program one turn, in random order, and ratios are taken
within rounds.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.threads import single_thread

_MIN_ROUNDS = 7
_MIN_SAMPLE_SECONDS = 0.005  # far above what a clock resolves and a call of Python costs


@dataclass(frozen=True)
class Latency:
    """What one program took: medians over rounds, with the quartiles around them.

    ``ratio`` is the baseline's time over this program's, above 1 if this one is faster; it is the median of the ratios
    within rounds, not the ratio of medians. ``samples`` are the milliseconds of each round, for other ratios.
    """

    milliseconds: float
    milliseconds_quartiles: tuple[float, float]
    ratio: float
    ratio_quartiles: tuple[float, float]
    calls: int
    """Calls that one sample is the mean of."""
    samples: tuple[float, ...]

    def ratio_to(self, other: "Latency") -> tuple[float, float, float]:
        """Return lower quartile, median and upper quartile of ``other``'s time over this one's, round by round.

        Raises:
            ValueError: if the two were not measured in the same rounds.
        """
        if len(self.samples) != len(other.samples):
            raise ValueError(f"expected {len(self.samples)} rounds of both, got {len(other.samples)}")
        return _quartiles(np.array(other.samples) / np.array(self.samples))


def interleaved(
    programs: Mapping[str, Callable[[], object]],
    baseline: str,
    *,
    rounds: int = 9,
    rng: np.random.Generator,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Latency]:
    """Return what each program takes, and its ratio to the one named ``baseline``, in the order given.

    Each is first run until its calls take 5 ms together, which warms it up, too; that many calls are one sample.
    PyTorch is held to one thread meanwhile; other runtimes were told when their program was opened.

    Args:
        programs: what to call, by name.
        baseline: one of the names.
        rounds: turns of each program, at least 7.
        rng: draws the order within each round.
        clock: seconds. ``time.process_time`` counts what the process computes and not what others make it wait, which
            is what a busy machine allows to measure; it counts all threads, so it is fair to one thread only.

    Raises:
        ValueError: for an unknown baseline or too few rounds.
    """
    if baseline not in programs:
        raise ValueError(f"baseline must be one of {', '.join(programs)}, got {baseline!r}")
    if rounds < _MIN_ROUNDS:
        raise ValueError(f"rounds must be at least {_MIN_ROUNDS}, got {rounds}")
    names = list(programs)
    samples = np.empty((len(names), rounds))
    with single_thread():
        calls = [_calls_per_sample(programs[name], clock) for name in names]
        for turn in range(rounds):
            for place in rng.permutation(len(names)):
                samples[place, turn] = _seconds(programs[names[place]], calls[place], clock) / calls[place] * 1e3
    reference = samples[names.index(baseline)]
    return {name: _latency(own, reference, many) for name, own, many in zip(names, samples, calls, strict=True)}


def _calls_per_sample(program: Callable[[], object], clock: Callable[[], float]) -> int:
    _seconds(program, 1, clock)  # a first call allocates
    calls = 1
    while (taken := _seconds(program, calls, clock)) < _MIN_SAMPLE_SECONDS:
        # a tenth more than the estimate, but never more than tenfold: the estimate from a short run is poor
        calls = max(calls + 1, int(calls * min(10.0, 1.1 * _MIN_SAMPLE_SECONDS / max(taken, 1e-9))))
    return calls


def _seconds(program: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    began = clock()
    for _ in range(calls):
        program()
    return clock() - began


def _latency(own: NDArray[np.float64], reference: NDArray[np.float64], calls: int) -> Latency:
    low, middle, high = _quartiles(own)
    slow, ratio, fast = _quartiles(reference / own)
    return Latency(middle, (low, high), ratio, (slow, fast), calls, tuple(own.tolist()))


def _quartiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return low, middle, high
