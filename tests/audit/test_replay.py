"""L0: the real code passes, and each planted fault is found by the check that should find it."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from audit.token_kit import PAD, VOCABULARY, Backwards
from fedcomp.aggregation import PrivateSum
from fedcomp.audit.client_release import ClientRelease
from fedcomp.audit.example_releases import LocalRelease, SummedRelease
from fedcomp.audit.model_replay import made_up_split, replay_model
from fedcomp.audit.releases import Floats, ReleaseCode, ReleaseTerms
from fedcomp.audit.replay import replay
from fedcomp.codecs import codec_from_config
from fedcomp.privacy import CohortSampler, GaussianMechanism
from fedcomp.rng import Randomness
from fedcomp.tasks import load_task
from fedcomp.training import Draws, dpsgd
from fedcomp.training.clipping import GhostClipping, HookClipping
from fedcomp.training.opacus_parts import StepRule

BOUND, NOISE, DIMENSION = 0.1, 3.0, 33


def mean_of_clients(population: int = 1000) -> PrivateSum:
    return PrivateSum(GaussianMechanism(BOUND, NOISE), 1 / population, clips=True)


CODES: dict[str, ReleaseCode] = {
    "local, ghost": LocalRelease(DIMENSION, 0.25, 5500, BOUND, NOISE, GhostClipping),
    "local, hooks": LocalRelease(DIMENSION, 0.25, 5500, BOUND, NOISE, HookClipping),
    "local, one row at once": LocalRelease(DIMENSION, 0.25, 5500, BOUND, NOISE, GhostClipping, rows_at_once=1),
    "examples": SummedRelease(
        DIMENSION, 0.25, BOUND, PrivateSum(GaussianMechanism(BOUND, NOISE), -1e-4, clips=False), GhostClipping
    ),
    "clients": ClientRelease(DIMENSION, CohortSampler(1000, "bernoulli", 300), mean_of_clients()),
    "all clients": ClientRelease(DIMENSION, CohortSampler(10), mean_of_clients(10)),
    "clients, lossy": ClientRelease(
        DIMENSION, CohortSampler(10), mean_of_clients(10), codec_from_config([{"id": "uniform", "bit_width": 2}])
    ),
}


@pytest.mark.parametrize("name", CODES)
def test_the_real_code_passes(name: str) -> None:
    assert [finding.sentence() for finding in replay(CODES[name]) if not finding.holds] == []


TERMS = ReleaseTerms("example", BOUND, NOISE * BOUND, 0.25, 1)


def shortened(rows: Floats) -> Floats:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, BOUND / np.maximum(norms, 1e-12))


@dataclass(frozen=True)
class Faulty:
    """A release that is wrong in one way."""

    fault: str
    dimension: int = DIMENSION
    terms: ReleaseTerms = TERMS

    def observe(self, units: Floats, draws: Draws | None = None) -> Floats:
        assert draws is not None
        batch = units[draws.batches.random(len(units)) < self.terms.sampling_probability]
        if self.fault != "NaN passes":
            batch = batch[np.isfinite(batch).all(axis=1)]
        clipped = shortened(batch)
        if self.fault == "each array clipped apart":
            clipped = np.hstack([shortened(batch[:, :-1]), shortened(batch[:, -1:])])
        if self.fault == "not clipped":
            clipped = batch
        if self.fault == "an empty batch is skipped" and not len(batch):
            return np.zeros(self.dimension)
        if self.fault == "an empty batch fails":
            clipped = clipped - clipped[0] * 0
        total = clipped.sum(axis=0)
        if self.fault == "divided by how many there are":
            total = total * 8 / max(len(units), 1)
        if self.fault == "divided by the batch":
            total = total * 7 / max(len(batch), 1)
        multiplier = {"noise / 2": 0.5, "noise x 0.9": 0.9, "no noise": 0.0}.get(self.fault, 1.0)
        return total + multiplier * self.terms.noise_std * draws.noise.standard_normal((self.dimension,))

    def sampled(self, population: int, batches: Randomness | None = None) -> np.ndarray:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("fault", "claim"),
    [
        ("not clipped", "moves the sum"),
        ("each array clipped apart", "moves the sum"),
        ("divided by how many there are", "does not take part"),
        ("divided by the batch", "adds nothing"),
        ("NaN passes", "adds nothing"),
        ("an empty batch is skipped", "same path"),
        ("an empty batch fails", "same path"),
        ("noise / 2", "declared one"),
        ("noise x 0.9", "declared one"),
        ("no noise", "declared one"),
    ],
)
def test_a_fault_is_found_by_its_check(fault: str, claim: str) -> None:
    assert all(finding.holds for finding in replay(Faulty("none")))
    assert any(claim in finding.claim for finding in replay(Faulty(fault)) if not finding.holds)


def test_a_client_that_is_not_clipped_again_is_found() -> None:
    """The second clip of the server: without it a lossy codec, or a client that does as it likes, moves the sum."""
    code = CODES["clients, lossy"]
    assert isinstance(code, ClientRelease)
    trusting = replace(code, aggregator=replace(code.aggregator, clips=False))
    assert not replay(trusting)[0].holds


def test_a_bound_that_is_declared_too_large_is_found() -> None:
    """A unit has to reach the declared bound, or nothing was measured."""
    code = LocalRelease(DIMENSION, 0.25, 5500, BOUND, NOISE, GhostClipping)

    class Wide(LocalRelease):
        terms = property(lambda self: replace(code.terms, sensitivity=2 * BOUND))  # type: ignore[assignment]

    assert not replay(Wide(DIMENSION, 0.25, 5500, BOUND, NOISE, GhostClipping))[0].holds


@pytest.mark.parametrize("engine", [GhostClipping, HookClipping])
def test_the_runs_own_model_is_replayed(engine: type) -> None:
    task = load_task("digits")
    rows = made_up_split(task, task.model(0), 6)
    (finding,) = replay_model(task.model(0), task.loss, rows, 0.5, engine)
    assert finding.holds, finding.sentence()


def test_a_model_that_escapes_clipping_is_found() -> None:
    class Escapes(HookClipping):
        def clipped_sum(self):
            return [2 * total for total in super().clipped_sum()]

    task = load_task("digits")
    rows = made_up_split(task, task.model(0), 6)
    (finding,) = replay_model(task.model(0), task.loss, rows, 0.5, Escapes)
    assert not finding.holds


@pytest.mark.parametrize("engine", [GhostClipping, HookClipping])
@pytest.mark.parametrize("bound", [0.1, 1e3])
def test_a_model_of_tokens_is_replayed(engine: type, bound: float) -> None:
    task = Backwards()
    rows = made_up_split(task, task.model(0), 6)
    (finding,) = replay_model(task.model(0), task.loss, rows, bound, engine, task.padding)
    assert finding.holds, finding.sentence()


@pytest.mark.parametrize("bound", [0.1, 1e3])
def test_a_model_of_tokens_that_is_not_clipped_is_found_whatever_the_bound(bound: float, monkeypatch) -> None:
    """No row of tokens has a gradient of norm 1,000 by itself."""
    monkeypatch.setattr(dpsgd, "StepRule", lambda _, *rest: StepRule(1e9, *rest))
    task = Backwards()
    rows = made_up_split(task, task.model(0), 6)
    (finding,) = replay_model(task.model(0), task.loss, rows, bound, GhostClipping, task.padding)
    assert not finding.holds
    assert "a loss a million times as large" in finding.measured


def test_made_up_tokens_are_those_that_the_model_knows_and_end_in_padding() -> None:
    task = Backwards()
    rows = made_up_split(task, task.model(0), 200)
    assert rows.inputs.shape == (200, *task.train().inputs.shape[1:])
    assert rows.targets.shape == (200, *task.train().targets.shape[1:])
    assert set(np.unique(rows.inputs)) == set(np.unique(rows.targets)) == set(range(VOCABULARY))
    ended = rows.targets[:, ::-1].cumsum(axis=1)[:, ::-1] == PAD * np.arange(6, 0, -1)
    assert (rows.inputs[:, 6:][ended] == PAD).mean() > 0.95
    lengths = 6 - ended.sum(axis=1)
    assert lengths.min() <= 1
    assert lengths.max() == 6
