"""What a run will cost, before it runs: privacy exactly, bytes by encoding an update that looks like noise."""

from typing import Any

import numpy as np

from fedcomp.arrays import Arrays, fp32_bytes, num_values
from fedcomp.plan import Plan
from fedcomp.rng import stream
from fedcomp.training import get_arrays

_ENVELOPE_BYTES, _HEAD_BYTES, _KEY_BYTES = 250, 73, 75
"""What an envelope with its headers adds, about, and the heads and keys of ledgers; the run counts the real ones."""


def forecast(plan: Plan) -> dict[str, Any]:
    """Return the costs of ``plan`` by name.

    Epsilon and noise are what the accountant says. Bytes are those of a Gaussian update of the model's shape, encoded
    by the plan's codecs: exact for a noised update up to a few percent, an upper bound in practice for a raw one.
    """
    config = plan.config
    model = get_arrays(plan.task.model(plan.model_seed()))
    cohort = config.clients.cohort or config.clients.population
    payloads = (len(codec.encode(_noise(model), rng=stream(1))) for codec in (plan.uplink, plan.downlink))
    added = (_ENVELOPE_BYTES + (_HEAD_BYTES + _KEY_BYTES) * (config.privacy.mode == "local"), _ENVELOPE_BYTES)
    uplink, downlink = (payload + more for payload, more in zip(payloads, added, strict=True))
    facts: dict[str, Any] = {
        "task": config.task,
        "mode": config.privacy.mode,
        "rounds": config.rounds,
        "clients a round": cohort,
        "order on the client": [step.value for step in plan.order.client],
        "order on the server": [step.value for step in plan.order.server],
        "parameters": num_values(model),
        "uplink_bytes_per_update": uplink,
        "uplink_compression": fp32_bytes(model) / uplink,
        "downlink_bytes_per_delta": downlink,
        "downlink_compression": fp32_bytes(model) / downlink,
        "server_memory_bytes": 5 * fp32_bytes(model) + 64 * downlink,
    }
    return facts | _privacy(plan)


def _privacy(plan: Plan) -> dict[str, Any]:
    spent = plan.spent_after(plan.config.rounds)
    if spent is None:
        return {"privacy": "none is claimed"}
    return {
        "privacy": spent.sentence(),
        "noise_multiplier": plan.config.privacy.noise_multiplier,
        "epsilon_by_round": list(plan.epsilon_by_round()),
    }


def _noise(model: Arrays) -> dict[str, Any]:
    rng = stream(0, "forecast")
    return {name: rng.standard_normal(array.shape, dtype=np.float32) for name, array in model.items()}
