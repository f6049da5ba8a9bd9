"""The audit of the code, through plans of every private mode: sound code passes, and a fault put into it is found.

``benchmarks/planted_bugs.py`` has many more faults, each through a whole run.
"""

import numpy as np
import pytest

from fedcomp.audit.finding import Finding
from fedcomp.config import load_config
from fedcomp.crypto import SecretStream
from fedcomp.plan import Plan, make_plan
from fedcomp.privacy import PoissonSampler
from fedcomp.run_audit.code import Effort, audit_canaries, audit_code, audit_components, audit_replay, audit_step
from fedcomp.run_audit.inversion import inversion_findings, invert_updates, pictures
from fedcomp.training import dpsgd

EFFORT = Effort(
    noise_releases=48,
    noise_dimension=513,
    sampled_releases=100,
    sampled_units=200,
    step_releases=100,
    step_canaries=500,
    canaries=400,
)
MODES: dict[str, dict[str, object]] = {
    "local": {},
    "examples": {"privacy.mode": "central", "uplink": []},
    "clients": {
        "privacy.mode": "central",
        "privacy.unit": "client",
        "clients.population": 40,
        "clients.cohort": 20,
        "clients.sampling": "bernoulli",
        "privacy.clipping_quantile": 0.5,
    },
}


def plan_of(mode: str) -> Plan:
    return make_plan(load_config("configs/digits.toml", {"rounds": 5, **MODES[mode]}))


def broken(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.sentence() for finding in findings if not finding.holds]


@pytest.mark.parametrize(
    "mode", ["local", pytest.param("examples", marks=pytest.mark.slow), pytest.param("clients", marks=pytest.mark.slow)]
)
def test_sound_code_passes_every_layer(mode):
    plan = plan_of(mode)
    spent = plan.spent_after(5)
    assert broken(audit_replay(plan)) == []
    assert broken(audit_components(plan, EFFORT)) == []
    findings = audit_step(plan, EFFORT)
    assert broken(findings) == []
    assert [finding.layer for finding in findings] == ["L2 bounds", "L5 auditor"]
    assert broken(audit_canaries(plan, EFFORT, spent, 5)) == []


def test_shuffled_batches_are_found_by_the_draws(monkeypatch):
    def shuffled(self, rng):
        for _ in range(self.steps):
            order = np.argsort(rng.random(self.population))
            yield np.sort(order[: round(self.sampling_probability * self.population)])

    monkeypatch.setattr(PoissonSampler, "batches", shuffled)
    assert any("sampling" in sentence for sentence in broken(audit_components(plan_of("local"), EFFORT)))


def test_noise_from_a_known_key_is_found_by_the_draws(monkeypatch):
    monkeypatch.setattr(dpsgd, "SecretStream", lambda: SecretStream(test_key=bytes(32)))
    assert any("noise" in sentence for sentence in broken(audit_components(plan_of("local"), EFFORT)))


def test_inverting_an_update_works_where_there_is_no_privacy_and_not_where_there_is():
    plan = plan_of("local")
    found = invert_updates(plan)
    assert found.hits_plain == found.trials
    assert broken(inversion_findings(plan, found)) == []
    assert found.protected is not None
    assert found.plain.cosine > 0.9 > found.protected.cosine
    assert [picture["title"] for picture in pictures(found)] == [
        "Gradient inversion: without privacy",
        "Gradient inversion: with the run's privacy",
    ]


def test_code_that_fails_on_some_data_is_a_finding_and_not_a_traceback(monkeypatch):
    def fails_on_nothing(self, rng):
        assert self.population
        return iter([np.arange(self.population)])

    monkeypatch.setattr(PoissonSampler, "batches", fails_on_nothing)
    plan = plan_of("local")
    little = Effort(8, 65, 8, 32, 20, 50, 40)
    found = broken(audit_code(plan, little, plan.spent_after(5), 5, lambda _: None))
    assert any("AssertionError" in sentence and "drawing noise" in sentence for sentence in found)
