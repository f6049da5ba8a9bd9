"""Every mechanism through the suite, and wrong ones that the suite has to catch."""

import dp_accounting as dp
import numpy as np
import pytest

from contracts import mechanism_suite as suite
from fedcomp.arrays import l2_norm
from fedcomp.privacy import GaussianMechanism, PrivateUpdate

RIGHT = GaussianMechanism(1.5, 2.0)


@pytest.mark.parametrize("clipping_norm", [1e-3, 1.0, 37.5])
@pytest.mark.parametrize("noise_multiplier", [0.0, 0.5, 3.0])
def test_the_gaussian_mechanism_keeps_the_contract(clipping_norm, noise_multiplier):
    suite.check_mechanism(GaussianMechanism(clipping_norm, noise_multiplier), clipping_norm * noise_multiplier)


class Wrong:
    """A mechanism that keeps the contract; each subclass breaks it in one way that was shipped somewhere."""

    sensitivity, event, noise_std, grid = RIGHT.sensitivity, RIGHT.event, RIGHT.noise_std, RIGHT.grid

    def clip(self, arrays):
        return RIGHT.clip(arrays)

    def noise(self, total, rng):
        noised = {
            name: (array + self.noise_std * rng.standard_normal(array.shape)).astype(total.like[name].dtype)
            for name, array in total.total.items()
        }
        return PrivateUpdate(noised, self.event)


class ClipsEachArray(Wrong):
    def clip(self, arrays):
        clipped = {name: RIGHT.clip({name: array})[0][name] for name, array in arrays.items()}
        return clipped, l2_norm(arrays)


class RoundsToNearest(Wrong):
    def clip(self, arrays):
        norm = l2_norm(arrays)
        factor = min(1.0, self.sensitivity / norm) if norm else 1.0
        return {name: (array.astype(np.float64) * factor).astype(array.dtype) for name, array in arrays.items()}, norm


class DividesByZero(Wrong):
    def clip(self, arrays):
        norm = l2_norm(arrays)
        return {name: array * min(1.0, self.sensitivity / norm) for name, array in arrays.items()}, norm


class LetsNaNThrough(Wrong):
    def clip(self, arrays):
        norm = l2_norm(arrays)
        return (
            (RIGHT.clip(arrays) if norm > self.sensitivity else (dict(arrays), norm)) if norm else (dict(arrays), 0.0)
        )


class WritesToItsInput(Wrong):
    def clip(self, arrays):
        clipped, norm = RIGHT.clip(arrays)
        for name, array in arrays.items():
            array[...] = clipped[name]
        return clipped, norm


class HalvesTheNoise(Wrong):
    noise_std = RIGHT.noise_std / 2


class ForgetsTheBoundInTheNoise(Wrong):
    noise_std = 2.0


class UsesOneSeed(Wrong):
    def noise(self, total, rng):
        return super().noise(total, np.random.default_rng(0))


class ClaimsTooMuch(Wrong):
    event = dp.GaussianDpEvent(4.0)


class DropsTheClip(Wrong):
    def clip(self, arrays):
        return dict(arrays), RIGHT.clip(arrays)[1]


def test_the_right_double_passes():
    suite.check_mechanism(Wrong(), RIGHT.noise_std)


CAUGHT_BY = {
    ClipsEachArray: (suite.check_clip_bounds_the_whole, AssertionError),
    RoundsToNearest: (suite.check_clip_bounds_the_whole, AssertionError),
    DropsTheClip: (suite.check_sensitivity, AssertionError),
    DividesByZero: (suite.check_clip_edges, ZeroDivisionError),
    LetsNaNThrough: (suite.check_clip_refuses, pytest.fail.Exception),
    WritesToItsInput: (suite.check_clip_refuses, AssertionError),
    HalvesTheNoise: (lambda wrong: suite.check_noise(wrong, RIGHT.noise_std), AssertionError),
    ForgetsTheBoundInTheNoise: (lambda wrong: suite.check_noise(wrong, RIGHT.noise_std), AssertionError),
    UsesOneSeed: (lambda wrong: suite.check_noise(wrong, RIGHT.noise_std), AssertionError),
    ClaimsTooMuch: (lambda wrong: suite.check_noise(wrong, RIGHT.noise_std), AssertionError),
}


@pytest.mark.parametrize("wrong", Wrong.__subclasses__())
def test_the_suite_catches(wrong):
    check, error = CAUGHT_BY[wrong]
    with pytest.raises(error):
        check(wrong())
