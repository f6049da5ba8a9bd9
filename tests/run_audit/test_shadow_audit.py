"""Shadow models against a model that learnt its rows by heart, and against one that never saw them."""

from fedcomp.config import load_config
from fedcomp.plan import make_plan
from fedcomp.rng import stream
from fedcomp.run_audit.shadow import _pool, shadow_attacks, shadow_findings
from fedcomp.training import train_plain


def test_a_model_that_learnt_by_heart_is_found_and_one_that_learnt_nothing_is_not():
    plan = make_plan(load_config("configs/digits.toml"))
    pool, members, population = _pool(plan)
    assert members.sum() == len(members) / 2
    assert len(population) == members.sum()
    module = plan.task.model(0)
    strangers = shadow_attacks(plan, module)
    train_plain(
        module,
        pool.take(members.nonzero()[0]),
        loss=plan.task.loss,
        local_epochs=60,
        batch_size=16,
        learning_rate=0.05,
        momentum=0.9,
        rng=stream(0),
    )
    heart = shadow_attacks(plan, module)
    for name in ("lira", "rmia"):
        assert heart[name].auc_low > 0.55 > strangers[name].auc_low
    assert all(finding.holds for finding in shadow_findings(heart, 8.0))
    assert not all(finding.holds for finding in shadow_findings(heart, -1.0))
