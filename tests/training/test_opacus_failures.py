"""Thirteen silent failures of Opacus 1.6.0, each reproduced in a few lines, and what this package does in its place.

Every test shows first that plain Opacus has the failure (the day that a release mends it, the test says so), and then
that training here has not. Where noise must be told from signal it is set apart with ``Draws``.
"""

import dataclasses
import inspect
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from opacus import GradSampleModule, PrivacyEngine
from opacus.accountants import GaussianAccountant, RDPAccountant
from opacus.optimizers import DPOptimizer
from opacus.optimizers.adaclipoptimizer import AdaClipDPOptimizer
from opacus.schedulers import LambdaGradClip
from opacus.utils.batch_memory_manager import BatchMemoryManager
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from opacus.validators import ModuleValidator
from private_kit import cross_entropy, draws, everyone, linear, rows, rule, seeded
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from fedcomp.crypto import SecretStream
from fedcomp.privacy import AdaptiveClip
from fedcomp.privacy.accounting import epsilon
from fedcomp.privacy.sampling import PoissonSampler
from fedcomp.tasks.base import Split
from fedcomp.training import Draws, UnsupportedModel, check_private_model, train_private
from fedcomp.training.clipping import GhostClipping, HookClipping
from fedcomp.training.linear_clipping import LinearClipping
from fedcomp.training.vmap_clipping import VmapClipping

ENGINES = (LinearClipping, GhostClipping, VmapClipping, HookClipping)
BOUND, DELTA = 0.5, 1e-5


class Silent:
    """Noise of zero, and every row in the batch."""

    def random(self, size=None):
        return np.zeros(size)

    def standard_normal(self, size=None, dtype=np.float64):
        return 0.0 if size is None else np.zeros(size, dtype)


def opacus(module, count: int, batch_size: int, accountant: str = "rdp", **changes) -> SimpleNamespace:
    """Return what ``make_private`` gives for ``count`` rows, with its warning about random numbers silenced."""
    values = {"noise_multiplier": 1.0, "max_grad_norm": BOUND} | changes
    data = TensorDataset(torch.from_numpy(rows(count).inputs), torch.from_numpy(rows(count).targets))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = PrivacyEngine(accountant=accountant)
        optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
        loader = DataLoader(data, batch_size=batch_size)
        made = engine.make_private(module=module, optimizer=optimizer, data_loader=loader, **values)
    return SimpleNamespace(engine=engine, module=made[0], optimizer=made[1], criterion=made[2], loader=made[-1])


def backward(criterion, module, inputs, targets) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        criterion(module(torch.from_numpy(inputs)), torch.from_numpy(targets)).backward()


def length(tensors) -> float:
    return float(torch.cat([each.detach().flatten() for each in tensors]).norm())


def train(split: Split, drawn: Draws | None = None, module: nn.Module | None = None, **changes) -> np.ndarray:
    values = {"sampler": everyone(split), "nominal_examples": 20, "max_grad_norm": BOUND, "noise_multiplier": 1.0}
    values |= {"learning_rate": 1.0, "loss": cross_entropy} | changes
    update = train_private(module or linear(), split, draws=drawn, **values)
    return np.concatenate([each.ravel() for each in update.arrays.values()])


def noise_alone(split: Split, **changes) -> np.ndarray:
    """Return the share of the noise in an update: all else is taken off."""
    return train(split, Draws(Silent(), draws(7).noise), **changes) - train(split, Draws(Silent(), Silent()), **changes)


def test_o01_the_divisor_of_the_sum_tells_how_many_rows_there_are():
    theirs = [opacus(linear(), count, 10) for count in (29, 30, 31)]
    assert [each.optimizer.expected_batch_size for each in theirs] == [9, 10, 7]
    assert [round(each.loader.sample_rate, 3) for each in theirs] == [0.333, 0.333, 0.25]
    # the noise on what leaves is a public constant here, and so is what one row adds
    noises = [noise_alone(rows(count)) for count in (29, 30, 31)]
    assert all(np.abs(each - noises[0]).max() < 1e-5 for each in noises)
    row = rows(1)
    one, *more = [train(row.take(np.zeros(count, np.int64)), Draws(Silent(), Silent())) for count in (1, 29, 30, 31)]
    for count, update in zip((29, 30, 31), more, strict=True):
        np.testing.assert_allclose(update, count * one, rtol=1e-4)


def test_o02_the_divisor_may_be_zero():
    theirs = opacus(linear(), 107, 1)
    assert theirs.optimizer.expected_batch_size == 0
    backward(functional.cross_entropy, theirs.module, rows(107).inputs[:1], rows(107).targets[:1])
    theirs.optimizer.step()  # no error
    assert not any(torch.isfinite(each).any() for each in theirs.module.parameters())
    split = rows(107)
    update = train(split, sampler=PoissonSampler(107, 1 / 107, 1), nominal_examples=107)
    assert np.isfinite(update).all()
    with pytest.raises(ValueError, match="nominal_examples must be greater than 0"):
        train(split, nominal_examples=0)


def test_o03_steps_that_are_taken_are_not_those_that_are_booked():
    wrong = [count for count in range(1, 20_001) if int(1 / (1 / count)) != count]
    assert 93 in wrong
    assert len(wrong) == 1364
    assert len(UniformWithReplacementSampler(num_samples=93, sample_rate=1 / 93)) == 92
    for count in wrong[:20]:
        sampler = PoissonSampler(count, 1 / count, count)
        assert len(list(sampler.batches(draws().batches))) == count == sampler.event(1.0).count
        assert sampler.event(1.0).event.sampling_probability == 1 / count


def test_o04_ghost_mode_with_a_plain_backward_does_not_clip():
    split, bound = rows(), 0.01
    theirs = opacus(linear(), 20, 20, grad_sample_mode="ghost", max_grad_norm=bound)
    backward(functional.cross_entropy, theirs.module, split.inputs, split.targets)
    unclipped = length([each.grad for each in theirs.module.parameters()])
    assert unclipped > 10 * bound
    # nobody calls backward here: a loss is a function of outputs, and one that is summed already is refused
    update = train(split, Draws(Silent(), Silent()), engine=GhostClipping, max_grad_norm=bound)
    assert np.linalg.norm(update) <= 20 * bound / 20 * (1 + 1e-5)
    for engine in ENGINES:
        with pytest.raises(ValueError, match=r"loss must return one value an example, \[(20|1)\], got \[\]"):
            train(split, engine=engine, loss=functional.cross_entropy)


def test_o05_a_schedule_of_the_bound_moves_the_noise_and_not_the_clipping():
    theirs = opacus(linear(), 20, 20, grad_sample_mode="ghost", max_grad_norm=1.0)
    LambdaGradClip(theirs.optimizer, scheduler_function=lambda _: 0.1).step()
    assert (theirs.optimizer.max_grad_norm, theirs.module.max_grad_norm) == (pytest.approx(0.1), 1.0)
    # one value for both: what is clipped to a tenth is noised for a tenth
    split = rows(1)
    for engine in ENGINES:
        large, small = ({"engine": engine, "max_grad_norm": bound} for bound in (1e-2, 1e-3))
        signal = [np.linalg.norm(train(split, Draws(Silent(), Silent()), **each)) for each in (large, small)]
        noise = [np.linalg.norm(noise_alone(split, **each)) for each in (large, small)]
        assert signal[0] / signal[1] == pytest.approx(10, rel=1e-2)  # 1e-6 is added to norms
        assert noise[0] / noise[1] == pytest.approx(10, rel=1e-2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule().max_grad_norm = 0.1


def test_o06_a_batch_that_is_left_half_way_goes_into_the_next():
    split, bound = rows(1).take(np.zeros(8, np.int64)), 0.1
    theirs = opacus(linear(), 8, 8, noise_multiplier=0.0, max_grad_norm=bound, poisson_sampling=False)

    def step() -> None:
        theirs.optimizer.zero_grad()
        backward(functional.cross_entropy, theirs.module, split.inputs[:4], split.targets[:4])
        theirs.optimizer.step()

    for pieces in (1, 2):  # a cap on local work leaves after the first of two pieces; the next round begins anew
        with BatchMemoryManager(
            data_loader=theirs.loader, max_physical_batch_size=4, optimizer=theirs.optimizer
        ) as parts:
            for piece, _ in enumerate(parts):
                step()
                if piece + 1 == pieces:
                    break
    moved = length([each.summed_grad for each in theirs.module.parameters()])
    assert moved == pytest.approx(12 * bound, rel=1e-3)  # of eight rows

    def failing(outputs, targets):
        failing.calls += 1
        if failing.calls == 2:
            raise KeyboardInterrupt
        return cross_entropy(outputs, targets)

    for engine in ENGINES:
        module, failing.calls = linear(), 0
        ours = {"engine": engine, "rows_at_once": 4, "max_grad_norm": bound, "nominal_examples": 1}
        with pytest.raises(KeyboardInterrupt):
            train(split, module=module, loss=failing, **ours)
        after = train(split, Draws(Silent(), Silent()), module=module, **ours)
        assert np.linalg.norm(after) == pytest.approx(8 * bound, rel=1e-3)


def test_o06_workers_that_read_ahead_leave_flags_behind_that_skip_later_steps():
    theirs = opacus(linear(), 8, 8, noise_multiplier=0.0, max_grad_norm=0.1, poisson_sampling=False)
    ahead = DataLoader(theirs.loader.dataset, batch_size=8, num_workers=1)
    with BatchMemoryManager(data_loader=ahead, max_physical_batch_size=2, optimizer=theirs.optimizer) as parts:
        next(iter(parts))
    # one flag for the batch that was taken, and those of batches that a worker had only read ahead
    flags = list(theirs.optimizer._step_skip_queue)
    assert flags[:3] == [True, True, True]
    assert len(flags) > 1
    # ours reads no batch before it is used, and keeps nothing between two calls: see the test above


def test_o07_one_row_that_is_not_finite_poisons_every_parameter():
    split = rows()
    poisoned = split.inputs.copy()
    poisoned[3] = np.nan
    for mode in ("hooks", "ghost"):
        theirs = opacus(linear(), 20, 20, grad_sample_mode=mode)
        criterion = theirs.criterion if mode == "ghost" else functional.cross_entropy
        backward(criterion, theirs.module, poisoned, split.targets)
        theirs.optimizer.step()
        assert all(torch.isnan(each).any() for each in theirs.module.parameters())
    others = split.take(np.delete(np.arange(20), 3))
    for engine in ENGINES:
        with_it = train(Split(poisoned, split.targets, poisoned), Draws(Silent(), Silent()), engine=engine)
        without = train(others, Draws(Silent(), Silent()), engine=engine)
        np.testing.assert_allclose(with_it, without, atol=1e-6)


def test_o08_shuffled_batches_are_booked_as_poisson():
    booked = []
    for poisson in (True, False):
        theirs = opacus(linear(), 40, 10, poisson_sampling=poisson)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # nobody is told
            for inputs, targets in theirs.loader:
                theirs.optimizer.zero_grad()
                if len(inputs):
                    backward(functional.cross_entropy, theirs.module, inputs.numpy(), targets.numpy())
                    theirs.optimizer.step()
        sizes = [len(inputs) for inputs, _ in theirs.loader]
        booked.append(theirs.engine.accountant.history)
    assert sizes == [10] * 4
    assert booked[0] == booked[1] == [(1.0, 0.25, 4)]
    # the event comes from the object that draws, and there is none that shuffles
    assert inspect.get_annotations(train_private)["sampler"] is PoissonSampler
    sampler = PoissonSampler(40, 0.25, 200)
    sizes = [len(batch) for batch in sampler.batches(draws().batches)]
    assert abs(np.var(sizes) - 7.5) < 5 * 7.5 * math.sqrt(2 / 200)  # Poisson: 40 q (1 - q); shuffled: 0
    assert type(sampler.event(1.0).event).__name__ == "PoissonSampledDpEvent"


def test_o09_one_global_seed_makes_the_noise_of_two_clients_equal():
    split = rows()
    theirs, ours = [], []
    for client in range(2):
        made = opacus(linear(), 20, 20)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            backward(functional.cross_entropy, made.module, split.inputs[client:], split.targets[client:])
            made.optimizer.step()
            theirs.append(torch.cat([(p.grad * 20 - p.summed_grad).flatten() for p in made.module.parameters()]))
            torch.default_generator.manual_seed(0)
            ours.append(train(rows(0)))
    assert torch.allclose(*theirs, atol=1e-5)
    assert length(theirs) > 1
    assert not np.isin(ours[0], ours[1]).any()


def test_o10_cryptographic_noise_cannot_be_installed():
    with pytest.raises(ImportError, match="torchcsprng"):
        PrivacyEngine(secure_mode=True)
    streams = []

    class Watching(LinearClipping):
        def __init__(self, module, loss, rule):
            streams.append(rule.noise_rng)
            super().__init__(module, loss, rule)

    train(rows(), engine=Watching)
    assert [type(each) for each in streams] == [SecretStream]
    # the first block of test vector 1 in appendix A.1 of RFC 8439: key, nonce and counter of zeros
    words = SecretStream(test_key=bytes(32)).words(2)
    assert words.tobytes().hex() == "76b8e0ada0f13d90405d6ae55386bd28"


def test_o11_adaptive_clipping_pays_half_of_what_its_bit_costs():
    module = GradSampleModule(linear())
    theirs = AdaClipDPOptimizer(
        torch.optim.SGD(module.parameters(), lr=1.0),
        noise_multiplier=1.0,
        max_grad_norm=1e6,
        expected_batch_size=10,
        unclipped_num_std=1.0,
        target_unclipped_quantile=0.5,
        clipbound_learning_rate=0.2,
        max_clipbound=1e7,
        min_clipbound=1.0,
    )
    counts = []
    for count in (9, 10):
        theirs.zero_grad()
        backward(functional.cross_entropy, module, rows().inputs[:count], rows().targets[:count])
        theirs.clip_and_accumulate()
        counts.append((int(theirs.unclipped_num), theirs.sample_size))
    assert counts == [(9, 9), (10, 10)]  # one row moves the count by 1, and the divisor too
    for bit_noise, true in ((5.0, 0.985), (1.0, 0.756)):
        on_sum = (1.0 - (2 * bit_noise) ** -2) ** -0.5  # what it adds; right if a row moved the count by one half
        assert (on_sum**-2 + bit_noise**-2) ** -0.5 == pytest.approx(true, abs=5e-4)
    claimed, real = (
        epsilon([(PoissonSampler(1, 0.1, 100).event(multiplier), 1)], DELTA) for multiplier in (1.0, 0.756)
    )
    assert (claimed, real) == (pytest.approx(7.05, abs=0.02), pytest.approx(12.4, abs=0.1))
    # ours: the bit is centred, its divisor public, and sum and bit together are the event's multiplier
    for bit_noise in (5.0, 1.0):
        clip = AdaptiveClip(1.0, 0.5, 0.2, bit_noise, 10.0)
        bits = [math.log(clip.following(within, 0, Silent())) for within in (9, 10)]
        moved = (bits[0] - bits[1]) / 0.2 * 10
        assert moved == pytest.approx(0.5)
        assert (clip.noise_on_sum(1.0) ** -2 + (bit_noise / moved) ** -2) ** -0.5 == pytest.approx(1.0)


def test_o12_the_gaussian_accountant_promises_too_little():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does say that it may
        theirs = GaussianAccountant()
        for _ in range(100):
            theirs.step(noise_multiplier=1.0, sample_rate=0.01)
        promised = theirs.get_epsilon(DELTA)
    event = PoissonSampler(1, 0.01, 100).event(1.0)
    ours = epsilon([(event, 1)], DELTA)
    assert promised == pytest.approx(0.4575, abs=1e-3)
    assert ours == pytest.approx(0.718, abs=2e-3)
    assert promised < ours < epsilon([(event, 1)], DELTA, "RDP")


def test_o13_instance_norm_keeps_statistics_of_private_rows():
    def module() -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (2, 6)),
            nn.InstanceNorm1d(2, affine=False, track_running_stats=True),
            nn.Flatten(),
            linear(),
        )

    theirs = seeded(module)
    assert not ModuleValidator.validate(theirs, strict=False)
    made = opacus(theirs, 20, 20)
    before = theirs.state_dict()["1.running_mean"].clone()
    made.module(torch.from_numpy(rows().inputs))
    assert not torch.equal(theirs.state_dict()["1.running_mean"], before)  # raw data, no noise, saved with the model
    with pytest.raises(UnsupportedModel, match=r"layer '1' \(InstanceNorm1d\) keeps statistics of private examples"):
        check_private_model(seeded(module))
    with pytest.raises(UnsupportedModel, match=r"layer '1' \(InstanceNorm1d\)"):
        train(rows(), module=seeded(module))


def test_a_new_engine_each_round_forgets_the_rounds_before():
    """The failure of examples that train with Opacus in a federation: each round's epsilon is said to be the run's."""
    rounds, steps, said = 3, 4, []
    for _ in range(rounds):
        accountant = RDPAccountant()
        for _ in range(steps):
            accountant.step(noise_multiplier=1.5, sample_rate=0.25)
        said.append(accountant.get_epsilon(DELTA))
    whole = RDPAccountant()
    whole.history = [(1.5, 0.25, rounds * steps)]
    assert said[0] == said[1] == said[2] < 0.7 * whole.get_epsilon(DELTA)
    split = rows()
    sampler = PoissonSampler(20, 0.25, steps)
    settings = {"nominal_examples": 20, "max_grad_norm": BOUND, "noise_multiplier": 1.5, "learning_rate": 1.0}
    events = [
        train_private(linear(), split, sampler=sampler, loss=cross_entropy, **settings).event for _ in range(rounds)
    ]
    run = PoissonSampler(20, 0.25, rounds * steps).event(1.5)
    for kind in ("PLD", "RDP"):
        ours = epsilon([(event, 1) for event in events], DELTA, kind)
        assert ours == epsilon([(run, 1)], DELTA, kind)
    assert ours == pytest.approx(whole.get_epsilon(DELTA), rel=0.02)


def test_the_noise_is_that_of_one_sum_whatever_the_optimizer():
    """A check of the tests above: plain Opacus, used rightly, adds noise of the multiplier times the bound."""
    module = GradSampleModule(nn.Linear(2000, 10))
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=1.0), noise_multiplier=2.0, max_grad_norm=0.5, expected_batch_size=4
    )
    for parameter in module.parameters():
        parameter.grad_sample = torch.zeros(1, *parameter.shape)
    optimizer.step()
    drawn = np.concatenate([each.grad.flatten().numpy() for each in module.parameters()])
    nothing = rows(0)
    ours = train(
        Split(np.zeros((0, 2000), np.float32), nothing.targets, np.zeros((0, 2000), np.float32)),
        module=nn.Linear(2000, 10),
        noise_multiplier=2.0,
        nominal_examples=4,
    )
    assert drawn.std() == pytest.approx(2.0 * 0.5 / 4, rel=0.05)
    assert ours.std() == pytest.approx(2.0 * 0.5 / 4, rel=0.05)
