"""L3 on the wire: what an attacker makes of one client's update, as the server decodes it, with privacy and without."""

import base64
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from fedcomp import arrays, training
from fedcomp.aggregation import PrivateSum
from fedcomp.arrays import Arrays
from fedcomp.audit.finding import Finding, judged
from fedcomp.audit.inversion import InversionReport, choose_method, invert_update, score_reconstruction
from fedcomp.audit.png import picture_strip
from fedcomp.audit.token_rows import has_tokens, token_bags, tokens_of_update
from fedcomp.codecs import CodecContext
from fedcomp.plan import Plan
from fedcomp.privacy import PoissonSampler, epsilon
from fedcomp.rng import stream
from fedcomp.tasks import Split
from fedcomp.terms import by_example
from fedcomp.training import get_arrays, train_plain

_CANDIDATES = 1000
_TOKENS = "tokens"
_TRIALS = {"analytic": 20, "optimized": 4, _TOKENS: 20}
_STEPS = 250
_SHOWN = 8
_ALPHA = 1e-5


@dataclass(frozen=True, eq=False)
class Inversions:
    """What came of updates of one example each."""

    plain: InversionReport
    protected: InversionReport | None
    hits_plain: int
    hits_protected: int
    trials: int
    candidates: int
    method: str


@dataclass(frozen=True, eq=False)
class _Attack:
    """A way to invert updates: what it makes of examples ``[n, ...]``, and of an update in a range of inputs."""

    method: str
    limited: bool
    vectors: Callable[[NDArray[Any]], NDArray[np.float64]]
    guess: Callable[[Arrays, tuple[float, float] | None], NDArray[np.float64]]


def invert_updates(plan: Plan) -> Inversions:
    """Invert updates of single examples after the run's codec: without privacy, and with the run's.

    A hit is a reconstruction that is nearer to its own example than to any other of the candidates, which are the other
    examples of the training data. Of tokens it is those that the example holds (``tokens_of_update``), in no order.
    Clients with one example that is in every batch: the worst case.
    """
    train, module = plan.task.train(), plan.task.model(plan.model_seed())
    rng = stream(plan.config.seed, "audit", "inversion")
    held = np.concatenate(plan.split_rows[0])
    attack = _attack(plan, module, train, rng)
    candidates = train.take(rng.permutation(held)[: min(_CANDIDATES, len(held))])
    trials = min(_TRIALS[attack.method], len(candidates))
    true = attack.vectors(candidates.inputs)
    others = true.reshape(len(candidates), -1)
    # pictures lie in a range that everybody knows; features in none that an attacker could count on
    limits = (float(others.min()), float(others.max())) if attack.limited else None
    found: dict[bool, list[NDArray[Any]]] = {False: [], True: []}
    for index in range(trials):
        one = candidates.take(np.array([index]))
        for private in [False] + [True] * plan.private:
            update = _on_the_wire(plan, module, one, private=private, trial=index)
            found[private].append(np.nan_to_num(attack.guess(update, limits)))
    reports = {
        key: score_reconstruction(true[:trials], np.stack(values).astype(np.float64), attack.method, limits)
        if values
        else None
        for key, values in found.items()
    }
    hits = {key: sum(_nearest(others, each) == i for i, each in enumerate(values)) for key, values in found.items()}
    plain = reports[False]
    if plain is None:
        raise ValueError("nothing was inverted: the task has no training rows")
    return Inversions(plain, reports[True], hits[False], hits[True], trials, len(candidates), attack.method)


def inversion_findings(plan: Plan, found: Inversions) -> tuple[Finding, ...]:
    """Return whether inversion points out its example more often than the round's event allows."""
    event = plan.round_event
    how = (
        f"{found.method} inversion of updates of one example each, after the codec, with {found.candidates:,} "
        f"candidates; a run that keeps its claim fails with probability {_ALPHA:g}"
    )
    plain = f"without privacy {found.hits_plain} of {found.trials}, {_nearness(found.plain)}"
    if event is None or found.protected is None:
        return ()
    spent = epsilon([(event, 1)], plan.config.privacy.delta)
    # one example exchanged for another is one removed and one added
    chance = min(1.0, math.exp(min(2 * spent, 50)) / found.candidates + 3 * plan.config.privacy.delta)
    most = int(stats.binom.isf(_ALPHA, found.trials, chance)) if chance < 1 else found.trials
    claim = "inverting an update points out its example no more often than the round's epsilon allows"
    measured = (
        f"{found.hits_protected} of {found.trials} pointed out (at most {most} allowed), {_nearness(found.protected)}; "
        f"{plain}"
    )
    return (judged("L3 attacks", claim, found.hits_protected <= most, measured, how),)


def pictures(found: Inversions) -> list[dict[str, str]]:
    """Return the examples over what an attacker makes of them, for the report; features are drawn as squares.

    Of tokens there are none: which ones an example holds makes no picture.
    """
    if found.method == _TOKENS:
        return []
    shown = []
    for title, report in (("Without privacy", found.plain), ("With the run's privacy", found.protected)):
        if report is None:
            continue
        similarity = "" if report.ssim is None else f", SSIM {report.ssim:.2f}"
        png = picture_strip(*_pictures(report.original, report.reconstruction))
        shown.append(
            {
                "title": f"Gradient inversion: {title.lower()}",
                "caption": f"Above: the example. Below: what an attacker makes of its update, after the codec. "
                f"PSNR {report.psnr:.1f} dB{similarity}, cosine {report.cosine:.2f}.",
                "png": base64.b64encode(png).decode(),
            }
        )
    return shown


def to_json(found: Inversions) -> dict[str, Any]:
    """Return the figures, for ``audit.json``."""
    reports = {"plain": found.plain, "protected": found.protected}
    return {
        "method": found.method,
        "trials": found.trials,
        "candidates": found.candidates,
        "hits": {"plain": found.hits_plain, "protected": found.hits_protected if found.protected else None},
        **{
            name: {"psnr": each.psnr, "ssim": each.ssim, "cosine": each.cosine} if each else None
            for name, each in reports.items()
        },
    }


def _attack(plan: Plan, module: nn.Module, rows: Split, rng: np.random.Generator) -> _Attack:
    shape, padding = rows.inputs.shape[1:], plan.task.padding
    if has_tokens(rows.inputs):
        return _Attack(
            _TOKENS,
            True,
            lambda inputs: token_bags(module, inputs, padding),
            lambda update, _: tokens_of_update(module, update, padding),
        )

    def invert(update: Arrays, limits: tuple[float, float] | None) -> NDArray[np.float64]:
        found = invert_update(module, update, shape, 1, rng=rng, input_range=limits, steps=_STEPS, loss=plan.task.loss)
        return found.reshape(shape)

    return _Attack(choose_method(module, shape), len(shape) > 1, lambda inputs: inputs.astype(np.float64), invert)


def _nearness(report: InversionReport) -> str:
    return f"cosine {report.cosine:.2f}" if report.method == _TOKENS else f"PSNR {report.psnr:.1f} dB"


def _on_the_wire(plan: Plan, module: nn.Module, one: Split, *, private: bool, trial: int) -> Arrays:
    """Return what an adversary has of a client that holds one example: the server, or who reads its released model."""
    if not private:
        update: Arrays = train_plain(
            copy.deepcopy(module),
            one,
            loss=plan.task.loss,
            local_steps=1,
            batch_size=1,
            learning_rate=plan.config.training.learning_rate,
            optimizer=plan.config.training.optimizer,
            rng=stream(0, "audit"),
        ).update
    elif by_example(plan.config):
        update = _protected_example(plan, module, one)
    else:
        update = _protected_client(plan, module, one)
    if private and plan.central:
        return update
    held = get_arrays(module)
    rng, context = stream(plan.config.seed, "audit", "uplink", trial), CodecContext(reference=held)
    payload, _ = plan.uplink.advance(update, rng, context)
    return plan.uplink.decode(payload, max_values=arrays.num_values(held), reference=held)


def _protected_example(plan: Plan, module: nn.Module, one: Split) -> Arrays:
    privacy = plan.config.privacy
    noise, nominal = privacy.noise_multiplier or 0.0, privacy.nominal_examples or 1
    steps = plan.local_steps if privacy.mode == "local" else 1
    return training.train_private(
        module,
        one,
        loss=plan.task.loss,
        sampler=PoissonSampler(1, 1.0, steps),
        nominal_examples=privacy.sampling_probability * nominal,
        max_grad_norm=privacy.max_grad_norm,
        noise_multiplier=noise,
        learning_rate=plan.config.training.learning_rate,
    ).arrays


def _protected_client(plan: Plan, module: nn.Module, one: Split) -> Arrays:
    """Return the model's change, which is all that others than the trusted server see: one update, and the noise."""
    aggregator = plan.aggregator
    if not isinstance(aggregator, PrivateSum):
        raise TypeError(f"expected a private sum under mode central, got {type(aggregator).__name__}")
    update = _on_the_wire(plan, module, one, private=False, trial=0)
    state = aggregator.accumulate(aggregator.init(update), update)
    return aggregator.release(state)


def _nearest(others: NDArray[np.float64], guess: NDArray[Any]) -> int:
    """Return the candidate of the largest cosine, after the mean of all is taken off."""
    centre = others.mean(axis=0)
    each, flat = others - centre, guess.reshape(-1).astype(np.float64) - centre
    return int(np.argmax(each @ flat / np.maximum(np.linalg.norm(each, axis=1), 1e-12)))


def _pictures(*stacks: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Return each ``[n, ...]`` as pictures ``[n, h, w]`` in [0, 1]; a row of features is folded into a square."""
    shown = []
    first = stacks[0][:_SHOWN]
    low, high = float(first.min()), float(first.max())
    for stack in stacks:
        values = (np.clip(stack[:_SHOWN], low, high) - low) / max(high - low, 1e-12)
        if values.ndim == 2:
            side = math.ceil(math.sqrt(values.shape[1]))
            values = np.pad(values, ((0, 0), (0, side * side - values.shape[1]))).reshape(len(values), side, side)
        shown.append(values.reshape(len(values), -1, values.shape[-1]))
    return shown
