"""The audit of a run on rows of tokens: every layer that images have, in mode local and in mode central."""

import pytest

from audit.token_kit import Backwards
from fedcomp.audit.finding import Finding
from fedcomp.config import load_config
from fedcomp.plan import Plan, make_plan
from fedcomp.rng import stream
from fedcomp.run_audit.code import Effort, audit_code, audit_replay
from fedcomp.run_audit.inversion import inversion_findings, invert_updates, pictures, to_json
from fedcomp.run_audit.shadow import shadow_attacks, shadow_findings
from fedcomp.tasks.registry import TASKS
from fedcomp.training import dpsgd, train_plain
from fedcomp.training.opacus_parts import StepRule

LITTLE = Effort(
    noise_releases=48,
    noise_dimension=513,
    sampled_releases=100,
    sampled_units=200,
    step_releases=100,
    step_canaries=500,
    canaries=400,
)
MODES: dict[str, dict[str, object]] = {"local": {}, "examples": {"privacy.mode": "central", "uplink": []}}
CHANGED = {"task": "backwards", "student.enabled": False, "rounds": 5, "data.public_examples": 0, "audit.examples": 100}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(TASKS, "backwards", lambda _download: Backwards())


def plan_of(mode: str) -> Plan:
    return make_plan(load_config("configs/digits.toml", {**CHANGED, **MODES[mode]}))


def broken(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.sentence() for finding in findings if not finding.holds]


@pytest.mark.slow  # half a minute for each mode; what images go through is the same code
@pytest.mark.parametrize("mode", MODES)
def test_sound_code_passes(mode):
    plan = plan_of(mode)
    found = audit_code(plan, LITTLE, plan.spent_after(5), 5, lambda _: None)
    assert broken(found) == []
    assert {finding.layer for finding in found} == {"L0 replay", "L1 components", "L2 bounds", "L5 auditor"}


@pytest.mark.parametrize("mode", MODES)
def test_gradients_that_are_not_clipped_are_found_on_the_runs_own_model(mode, monkeypatch):
    """Noise is as declared, so that nothing else is wrong."""
    monkeypatch.setattr(dpsgd, "StepRule", lambda bound, noise, *rest: StepRule(1e9, noise * bound / 1e9, *rest))
    sentences = broken(audit_replay(plan_of(mode)))
    assert any("with the run's own model" in sentence for sentence in sentences)
    assert any("moves the sum by no more than the declared" in sentence for sentence in sentences)
    assert not any("the noise added" in sentence for sentence in sentences)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_tokens_of_a_row_are_found_in_its_update_without_privacy_and_not_with_it(mode):
    plan = plan_of(mode)
    found = invert_updates(plan)
    assert found.method == "tokens"
    assert found.hits_plain > 0.7 * found.trials
    assert found.hits_protected < 0.3 * found.trials
    (finding,) = inversion_findings(plan, found)
    assert finding.holds, finding.sentence()
    assert "cosine" in finding.measured
    assert pictures(found) == []
    assert to_json(found)["protected"]["cosine"] < found.plain.cosine


@pytest.mark.slow  # sixteen shadow models
def test_shadow_models_find_what_a_translation_learnt_by_heart(monkeypatch):
    monkeypatch.setitem(TASKS, "backwards", lambda _download: Backwards(width=64, nonsense=True))
    plan = plan_of("local")
    module = plan.task.model(0)
    strangers = shadow_attacks(plan, module)
    train_plain(
        module, plan.task.train(), loss=plan.task.loss, local_epochs=40, batch_size=16, learning_rate=3e-3,
        optimizer="adamw", rng=stream(0),
    )  # fmt: skip
    heart = shadow_attacks(plan, module)
    for name in ("lira", "rmia"):
        assert heart[name].auc_low > 0.5 > strangers[name].auc_low
    assert all(finding.holds for finding in shadow_findings(heart, 50.0))
