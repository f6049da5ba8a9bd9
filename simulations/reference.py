"""Federated averaging in plain Python, without Flower: the oracle for tests.

It reads like the pseudocode of McMahan et al. (2017) with coded exchange: each round, every client of the cohort
decodes the released model, trains, and encodes its update; the server decodes, averages, steps, and releases a coded
delta. Privacy is off: noise is not repeatable. Where this loop and a Flower run disagree, the loop is right.
"""

import numpy as np

from fedcomp.arrays import Array, Arrays, add, scale, subtract, zeros_like
from fedcomp.codecs import CodecContext
from fedcomp.codecs.importance import importance_of
from fedcomp.config import Config
from fedcomp.plan import Plan, make_plan
from fedcomp.privacy import CohortSampler
from fedcomp.rng import stream
from fedcomp.threads import single_thread
from fedcomp.training import get_arrays, set_arrays, train_plain


def run(config: Config) -> dict[str, Array]:
    """Return the global model after ``config.rounds`` rounds.

    Raises:
        ValueError: under a private mode.
    """
    plan = make_plan(config)
    if plan.private:
        raise ValueError(f"the reference runs mode 'none' alone, got {config.privacy.mode!r}")
    server = plan.config.server
    model: Arrays = get_arrays(plan.task.model(plan.model_seed()))
    released, velocity = model, zeros_like(model)
    memories: dict[int, dict[str, Array]] = {}
    held: dict[int, Arrays] = {}
    for number in range(1, plan.config.rounds + 1):
        updates, weights = [], []
        for client in cohort(plan, number):
            base = released
            if server.release == "each":
                base = held.get(client, released)
                rng = stream(config.seed, "downlink", f"client-{client}", number)
                base = add(base, plan.downlink.decode(plan.downlink.encode(subtract(model, base), rng)))
                held[client] = base
            update, num_examples = train(plan, base, client, number)
            rng = stream(config.seed, "uplink", f"client-{client}", number)
            importance = importance_of(plan.uplink, base, update)
            context = CodecContext(base, importance, memories.get(client, {}))
            payload, memories[client] = plan.uplink.advance(update, rng, context)
            updates.append(plan.uplink.decode(payload, reference=base))
            weights.append(num_examples if server.weighting == "examples" else 1)
        if updates:
            velocity = add(scale(velocity, server.momentum), mean(updates, weights))
            model = add(model, scale(velocity, server.learning_rate))
            if server.release == "each":
                continue
            delta = plan.downlink.encode(subtract(model, released), rng=stream(config.seed, "downlink", number))
            released = add(released, plan.downlink.decode(delta))
    return dict(model)


def cohort(plan: Plan, number: int) -> list[int]:
    """Return the clients of a round."""
    clients = plan.config.clients
    size = None if clients.sampling == "all" else clients.cohort
    sampler = CohortSampler(clients.population, clients.sampling, size)
    return [int(client) for client in sampler.cohort(stream(plan.config.seed, "cohort", number))]


def train(plan: Plan, model: Arrays, client: int, number: int) -> tuple[Arrays, int]:
    """Return one client's update and how many examples it holds."""
    training = plan.config.training
    module = plan.task.model(plan.model_seed())
    set_arrays(module, model)
    with single_thread():
        result = train_plain(
            module,
            plan.client_split(client),
            loss=plan.task.loss,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            local_steps=training.local_steps,
            local_epochs=training.local_epochs,
            momentum=training.momentum,
            rng=stream(plan.config.seed, "train", f"client-{client}", number),
        )
    return result.update, result.num_examples


def mean(updates: list[dict[str, Array]], weights: list[int]) -> dict[str, Array]:
    """Return the weighted mean on the grid of 2**-40 that makes sums independent of their order."""
    unit = 2.0**40
    total = {
        name: sum(
            np.rint(update[name].astype(np.float64) * (weight * unit))
            for update, weight in zip(updates, weights, strict=True)
        )
        for name in updates[0]
    }
    return {name: (value / (unit * sum(weights))).astype(updates[0][name].dtype) for name, value in total.items()}
