"""Times side by side, by a clock of our own: known programs give known milliseconds and ratios."""

import numpy as np
import pytest
import torch

from fedcomp.latency import interleaved


class Machine:
    """A clock that moves only when a program runs, and slows all of them down as it is told."""

    def __init__(self) -> None:
        self.now, self.load, self.calls = 0.0, 1.0, []

    def clock(self) -> float:
        return self.now

    def program(self, name: str, seconds: float):
        def run() -> None:
            self.calls.append(name)
            self.now += seconds * self.load

        return run


def measured(machine: Machine, seconds: dict[str, float], seed: int = 0, **options):
    programs = {name: machine.program(name, each) for name, each in seconds.items()}
    return interleaved(programs, "slow", rng=np.random.default_rng(seed), clock=machine.clock, **options)


def test_milliseconds_and_ratios_of_known_programs():
    found = measured(Machine(), {"slow": 0.008, "fast": 0.002})
    assert list(found) == ["slow", "fast"]
    assert found["slow"].milliseconds == pytest.approx(8)
    assert found["fast"].milliseconds == pytest.approx(2)
    assert found["fast"].ratio == pytest.approx(4)
    assert found["slow"].ratio == pytest.approx(1)
    assert found["fast"].ratio_quartiles == pytest.approx((4, 4))
    assert found["fast"].milliseconds_quartiles == pytest.approx((2, 2))


def test_a_sample_lasts_five_milliseconds():
    machine = Machine()
    found = measured(machine, {"slow": 0.1, "fast": 0.00002}, rounds=7)
    assert found["slow"].calls == 1
    assert 250 <= found["fast"].calls <= 300
    assert len(found["fast"].samples) == 7


def test_each_round_gives_every_program_one_turn_in_an_order_that_the_generator_draws():
    seconds = dict.fromkeys(("slow", "b", "c", "d"), 0.006)
    orders = []
    for seed in (0, 0, 1):
        machine = Machine()
        measured(machine, seconds, seed, rounds=7)
        turns = np.array(machine.calls[-28:]).reshape(7, 4)
        assert all(sorted(turn) == sorted(seconds) for turn in turns)
        orders.append(machine.calls)
    assert orders[0] == orders[1] != orders[2]
    assert len({tuple(turn) for turn in np.array(orders[0][-28:]).reshape(7, 4)}) > 1


def test_ratios_are_taken_within_rounds():
    """A machine that is slower in each round changes milliseconds; ratios within a round stay."""
    machine = Machine()
    fast = machine.program("fast", 0.001)
    turns = [0]

    def slow() -> None:
        machine.program("slow", 0.005)()
        turns[0] += 1
        machine.load = 1.0 if turns[0] < 3 else 2.0 ** (turns[0] // 2)

    class InOrder:
        def permutation(self, count: int) -> np.ndarray:
            return np.arange(count)[::-1]  # fast, then slow, at one load

    found = interleaved({"slow": slow, "fast": fast}, "slow", rounds=9, rng=InOrder(), clock=machine.clock)
    low, high = found["fast"].milliseconds_quartiles
    assert high > 3 * low
    assert found["fast"].ratio == pytest.approx(5)


def test_a_ratio_to_another_baseline():
    found = measured(Machine(), {"slow": 0.008, "middle": 0.006, "fast": 0.002})
    assert found["fast"].ratio_to(found["middle"]) == pytest.approx((3, 3, 3))
    shorter = measured(Machine(), {"slow": 0.008}, rounds=7)["slow"]
    with pytest.raises(ValueError, match="expected 9 rounds of both, got 7"):
        found["fast"].ratio_to(shorter)


def test_quartiles_of_an_unsteady_program():
    machine, turn = Machine(), [0]

    def unsteady() -> None:
        turn[0] += 1
        machine.now += 0.01 * turn[0]

    # two calls find out how many make a sample; the rounds then see 3 to 11
    found = interleaved({"slow": unsteady}, "slow", rounds=9, rng=np.random.default_rng(0), clock=machine.clock)["slow"]
    assert found.milliseconds == pytest.approx(70)
    assert found.milliseconds_quartiles == pytest.approx((50, 90))


def test_torch_is_held_to_one_thread_and_gets_its_own_back():
    before, seen = torch.get_num_threads(), []
    machine = Machine()

    def program() -> None:
        seen.append(torch.get_num_threads())
        machine.now += 0.01

    torch.set_num_threads(2)
    try:
        interleaved({"slow": program}, "slow", rng=np.random.default_rng(0), clock=machine.clock)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_the_real_clock_tells_a_long_program_from_a_short_one():
    def spin(times: int):
        return lambda: sum(range(times))

    found = interleaved({"slow": spin(40_000), "fast": spin(4_000)}, "slow", rng=np.random.default_rng(0))
    assert found["fast"].ratio > 4


def test_refusals_say_what_was_expected():
    with pytest.raises(ValueError, match="baseline must be one of a, got 'slow'"):
        interleaved({"a": lambda: None}, "slow", rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="rounds must be at least 7, got 6"):
        measured(Machine(), {"slow": 1.0}, rounds=6)
