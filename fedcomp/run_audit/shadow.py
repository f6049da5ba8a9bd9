"""L3: membership inference with shadow models, on the global model of a run."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedcomp.audit import MembershipReport
from fedcomp.audit.finding import Finding, judged
from fedcomp.audit.lira import LIRA_ASSUMPTIONS, lira
from fedcomp.audit.rmia import RMIA_ASSUMPTIONS, rmia
from fedcomp.audit.shadow_models import ShadowScores, label_confidence, report_attack, shadow_scores
from fedcomp.audit.token_rows import has_tokens
from fedcomp.plan import Plan
from fedcomp.rng import derived_seed, stream
from fedcomp.tasks import Split
from fedcomp.training import train_plain

MODELS = 16
_MOST_RECORDS = 5000
"""Of either kind: a shadow model is trained on half of all."""
_EPOCHS, _BATCH, _MOMENTUM = 6, 64, 0.9
_RATE, _RATE_OF_FEATURES = 0.05, 0.5
"""Steps; of features over their mean squared length, which decides how far a step goes there."""
_TOKENS: Mapping[str, Any] = {"optimizer": "adamw", "learning_rate": 1e-3, "batch_size": 16, "local_epochs": 12}
"""Plain SGD hardly trains a Transformer, and the few steps that images take teach it nothing about a row."""


def shadow_attacks(plan: Plan, module: nn.Module) -> dict[str, MembershipReport]:
    """Return what LiRA and RMIA find out about who was in the training data of ``module``, by attack."""
    return attacks_on(plan, {"global": module})["global"]


def attacks_on(plan: Plan, modules: Mapping[str, nn.Module]) -> dict[str, dict[str, MembershipReport]]:
    """Return what LiRA and RMIA find out from each of ``modules``, by its name and the attack's.

    All face the same shadow models, of the task's own architecture: for a module of another one, such as a student,
    that is what an attacker has who knows the task and not how the model was made smaller. Half of the pool are rows
    that clients trained on, half are test rows. Shadow models are trained without privacy, on random halves of the
    pool: the attacker has data like the clients' and does not know their noise.
    """
    pool, members, population = _pool(plan)
    confidence = functools.partial(label_confidence, padding=plan.task.padding)
    found = shadow_scores(
        lambda rows, seed: _trained(plan, pool.take(rows), seed),
        confidence,
        pool.inputs,
        pool.targets,
        num_models=MODELS,
        population=(population.inputs, population.targets),
        rng=stream(plan.config.seed, "audit", "shadows"),
    )
    return {name: _attacks(plan, module, found, pool, members, population) for name, module in modules.items()}


def _attacks(
    plan: Plan,
    module: nn.Module,
    found: ShadowScores,
    pool: Split,
    members: NDArray[np.bool_],
    population: Split,
) -> dict[str, MembershipReport]:
    padding = plan.task.padding
    target = label_confidence(module, pool.inputs, pool.targets, padding)
    others = label_confidence(module, population.inputs, population.targets, padding)
    scores = {
        "lira": (lira(found, target), LIRA_ASSUMPTIONS),
        "rmia": (rmia(found, target, others), RMIA_ASSUMPTIONS),
    }
    delta = plan.config.privacy.delta
    return {
        name: report_attack(each, members, text, delta=delta, rng=stream(plan.config.seed, "audit", name))
        for name, (each, text) in scores.items()
    }


def shadow_findings(attacks: dict[str, MembershipReport], epsilon: float) -> tuple[Finding, ...]:
    """Return whether the attacks stay under the epsilon that is claimed."""
    return tuple(
        judged(
            "L3 attacks",
            f"{name} with {MODELS} shadow models on the global model stays under epsilon",
            attack.epsilon_lower_bound <= epsilon,
            f"lower bound {attack.epsilon_lower_bound:.3f} at {attack.confidence:.0%} confidence, "
            f"AUC {attack.auc:.3f}, TPR {attack.tpr_at_fpr[0].tpr:.2%} at {attack.tpr_at_fpr[0].fpr:.1%} FPR",
            attack.assumptions,
        )
        for name, attack in attacks.items()
    )


def _pool(plan: Plan) -> tuple[Split, NDArray[np.bool_], Split]:
    """Return records, which of them are members, and others that no model was trained on."""
    train, test, rng = plan.task.train(), plan.task.test(), stream(plan.config.seed, "audit", "pool")
    held = np.concatenate(plan.split_rows[0])
    count = min(_MOST_RECORDS, plan.config.audit.examples, len(held), len(test) // 2)
    inside, outside = np.sort(rng.permutation(held)[:count]), rng.permutation(len(test))
    parts = train.take(inside), test.take(np.sort(outside[:count]))
    inputs = np.concatenate([part.inputs for part in parts])
    pool = Split(inputs, np.concatenate([part.targets for part in parts]), inputs)
    return pool, np.arange(2 * count) < count, test.take(np.sort(outside[count : 2 * count]))


def _trained(plan: Plan, rows: Split, seed: int) -> nn.Module:
    module = plan.task.model(derived_seed(plan.config.seed, "shadow", seed) % 2**31)
    rate = _RATE
    if rows.inputs.ndim == 2 and not has_tokens(rows.inputs):
        length = float(np.mean(np.sum(rows.inputs[:256].astype(np.float64) ** 2, axis=1)))
        rate = _RATE_OF_FEATURES / max(length, 1.0)
    usual = {"learning_rate": rate, "batch_size": _BATCH, "momentum": _MOMENTUM, "local_epochs": _EPOCHS}
    options = _TOKENS if has_tokens(rows.inputs) else usual
    train_plain(module, rows, loss=plan.task.loss, rng=stream(plan.config.seed, "shadow", seed), **options)
    return module.eval()
