"""Federated averaging in plain Python, without Flower: the oracle for tests.

It reads like the pseudocode of McMahan et al. (2017) with coded exchange: each round, every client of the cohort
decodes the released model, trains what it has the width for, and encodes its update; the server decodes, averages each
value over the clients that have it, distils the average towards the client models where that is due (Lin et al. 2020),
steps, and releases a coded delta. Privacy is off: noise is not repeatable. Where this loop and a Flower run disagree,
the loop is right.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from fedcomp.arrays import Array, Arrays, add, scale, subtract, zeros_like
from fedcomp.codecs import CodecContext
from fedcomp.codecs.importance import importance_of
from fedcomp.config import Config, FusionConfig
from fedcomp.plan import Plan, make_plan
from fedcomp.plan.narrow import Narrow
from fedcomp.privacy import CohortSampler
from fedcomp.rng import stream
from fedcomp.shrink.base import Material
from fedcomp.shrink.distillation.averaged import answers_of, imitate
from fedcomp.shrink.distillation.lesson import prepare
from fedcomp.shrink.taught import bare
from fedcomp.shrink.zeros import keep_zeros
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
        updates, weights, client_models = [], [], []
        for client in cohort(plan, number):
            base = released
            if server.release == "each":
                base = held.get(client, released)
                rng = stream(config.seed, "downlink", f"client-{client}", number)
                base = add(base, plan.downlink.decode(plan.downlink.encode(subtract(model, base), rng)))
                held[client] = base
            narrow = plan.narrow_of(plan.width_of(client))
            base = narrow.slices.take(base) if narrow else base
            update, num_examples = train(plan, base, client, number)
            update = plan.thinned(update, client)
            rng = stream(config.seed, "uplink", f"client-{client}", number)
            importance = importance_of(plan.uplink, base, update)
            context = CodecContext(base, importance, memories.get(client, {}))
            payload, memories[client] = plan.uplink.advance(update, rng, context)
            decoded = plan.uplink.decode(payload, reference=base)
            updates.append(spread(decoded, model, narrow))
            client_models.append((narrow, add(narrow.slices.take(model) if narrow else model, decoded)))
            weights.append(num_examples if server.weighting == "examples" else 1)
        if updates:
            average = mean(updates, weights)
            if config.fusion is not None and number % config.fusion.every == 0:
                average = subtract(distilled(plan, config.fusion, add(model, average), client_models, number), model)
            velocity = add(scale(velocity, server.momentum), plan.thinned(average))
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
    module = plan.client_module(client)
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
            precision=training.precision,
            optimizer=training.optimizer,
            rng=stream(plan.config.seed, "train", f"client-{client}", number),
        )
    return result.update, result.num_examples


def spread(update: Arrays, model: Arrays, narrow: Narrow | None) -> dict[str, Array]:
    """Return the update in the shapes of ``model``, with NaN where the client that it comes from has nothing."""
    spread = {name: np.full_like(array, np.nan) for name, array in model.items()}
    for name, array in spread.items():
        array[narrow.slices.index(name, array) if narrow else ...] = update[name]
    return spread


def mean(updates: list[dict[str, Array]], weights: list[int]) -> dict[str, Array]:
    """Return the weighted mean of each value over who has it, on the grid of 2**-40; 0 for what nobody has."""
    unit = 2.0**40
    found = {}
    for name, like in updates[0].items():
        total, count = np.zeros(like.shape), np.zeros(like.shape)
        for update, weight in zip(updates, weights, strict=True):
            held = ~np.isnan(update[name])
            total += np.where(held, np.rint(update[name].astype(np.float64) * (weight * unit)), 0)
            count += held * weight
        found[name] = np.where(count > 0, total / (unit * np.maximum(count, 1)), 0).astype(like.dtype)
    return found


def distilled(
    plan: Plan,
    settings: FusionConfig,
    average: Arrays,
    client_models: list[tuple[Narrow | None, Arrays]],
    number: int,
) -> dict[str, Array]:
    """Return the average after it has learnt what the client models answer on average to the public rows."""
    student = with_arrays(keep_zeros(bare(plan.task.model(plan.model_seed())), plan.masks), average)
    rng, rows = stream(plan.config.seed, "fusion", number), plan.public_split().inputs
    lesson = prepare(Material(rows, None, "public", plan.task.loss, student), 1, plan.task.padding, rng)
    with single_thread():
        answers = [
            answers_of(with_arrays(narrow.module() if narrow else bare(student), arrays), lesson.versions[0])
            for narrow, arrays in client_models
        ]
        unit = 2.0**24
        total = sum(np.rint(each.astype(np.float64) * unit) for each in answers)
        towards = torch.from_numpy(np.asarray(total / (unit * len(answers)), np.float32))
        lesson = replace(lesson, answers=lambda _, rows: towards[rows])
        imitate(student, lesson, **settings.model_dump(exclude={"every"}), rng=rng)
    return get_arrays(student)


def with_arrays(module: nn.Module, arrays: Arrays) -> nn.Module:
    """Return ``module`` itself with these arrays."""
    set_arrays(module, arrays)
    return module
