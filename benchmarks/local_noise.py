"""What coding adds to the noise of mode ``local``, on updates as its clients send them; for ``benchmarks.local_mode``.

The updates are those of the library's own DP-SGD on the demo's silos and head. They are drawn with test streams, so
that they repeat, and each comes twice, with its noise and without: what a codec adds is then compared with the noise
that is really there, and what it takes from the signal is seen. No privacy is claimed for such updates.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.codec_goals import Goal
from benchmarks.codec_measure import Config, Ours, rate_config, tuned
from benchmarks.codec_sources import draw
from benchmarks.local_runs import CLIENTS, REFERENCE, config_of
from benchmarks.local_tasks import UNCUT
from fedcomp import training
from fedcomp.aggregation import ServerModel
from fedcomp.arrays import Array, Arrays
from fedcomp.codecs import codec_from_config
from fedcomp.config import config_from_dict
from fedcomp.plan import Plan, make_plan
from fedcomp.privacy import PoissonSampler
from fedcomp.threads import single_thread

BITS = (1.0, 1.5, 2.0, 2.25, 2.5, 3.0)
LIMIT_BITS, LIMIT_ADDED = 2.5, 0.05
"""The goal: so many bits a parameter at most, at so much more noise variance at most."""
Row = dict[str, Any]
VIEWS = {
    "added": "a client",
    "added_mean": "the mean",
    "equal_gain": "a client at equal gain",
    "equal_gain_mean": "the mean at equal gain",
    "worst": "a client in the worst round",
}
"""Ways to look at what is added, by their key in a row."""
_KINDS: dict[str, Callable[[str], bool]] = {
    "rate, dithered": lambda name: name.startswith("rate") and name.endswith("dithered"),
    "rate": lambda name: name.startswith("rate") and "," not in name,
    "rate, max": lambda name: name.endswith("max"),
    "dither, rans": lambda name: name.startswith("dither"),
    "step, rans": lambda name: name.startswith("step"),
    "rotate": lambda name: name.startswith("rotate"),
}


@dataclass(frozen=True, eq=False)
class Capture:
    """The updates of all clients in one round."""

    seed: int
    round: int
    noisy: tuple[Arrays, ...]
    signals: NDArray[np.float32]
    """``[clients, parameters]``: the same updates without their noise."""
    noise_variance: float
    """Of one parameter of one client's update."""


def captures(seed: int, rounds: Sequence[int], of_rounds: int) -> Iterator[Capture]:
    """Train a run of ``of_rounds`` rounds up to the last of ``rounds``, and yield the updates of those."""
    plan = make_plan(config_from_dict(config_of(REFERENCE, seed, of_rounds)))
    server = ServerModel.initial(plan.initial_model())
    for number in range(1, max(rounds) + 1):
        noisy = [_update(plan, server.model, client, number, noise=True) for client in range(CLIENTS)]
        if number in rounds:
            clean = [_update(plan, server.model, client, number, noise=False) for client in range(CLIENTS)]
            signals = np.stack([flat(arrays) for arrays in clean])
            yield Capture(seed, number, tuple(noisy), signals, noise_std(plan) ** 2)
        total = {name: np.mean([arrays[name] for arrays in noisy], axis=0) for name in noisy[0]}
        server = server.step(total, learning_rate=1.0, momentum=plan.config.server.momentum)


def chains(bits: Sequence[float] = BITS) -> dict[str, tuple[float | None, Config]]:
    """Return what is measured by name: the rate that was asked for, if any, and the chain.

    Steps of ``dither`` and ``step`` are those that pay a rate on Gaussian noise alone.
    """
    found: dict[str, tuple[float | None, Config]] = {}
    gaussian = draw("gaussian", UNCUT)
    for rate in bits:
        found[f"rate {rate:g}, dithered"] = rate, rate_config(rate, dither=True)
    for rate in bits:
        found[f"rate {rate:g}"] = rate, rate_config(rate)
    for rate in bits:
        found[f"rate {rate:g}, max"] = rate, rate_config(rate, mode="max")
    for kind, make in (("dither", _dither), ("step", _step)):
        for rate in bits:
            step = tuned(gaussian, lambda value, make=make: Ours(make(value)), 0.05, 30, rate)  # type: ignore[misc]
            found[f"{kind} {step:.2f}, rans"] = rate, make(step)
    found |= {f"rotate {width}": (float(width), [{"id": "rotate", "bit_width": width}]) for width in (1, 2, 3, 4)}
    found["nf4"] = None, [{"id": "nf4"}]
    found["float16"] = None, [{"id": "float16"}]
    return found


def measure(capture: Capture, chain: Config) -> Row:
    """Return what a chain costs and does to the updates of one round.

    ``bits`` are those of payloads, headers included, a parameter. ``added`` is the squared error of an update over the
    variance of its noise, ``added_mean`` the same of the mean over clients. A biased codec shrinks: its decoded update
    is ``gain`` times the update plus an error that is uncorrelated with it, and ``equal_gain``, ``equal_gain_mean`` are
    that error once the server has divided by the gain. ``signal`` is how much of the mean update without noise is in
    the decoded mean, 1 if nothing was lost.
    """
    codec = codec_from_config(chain)
    updates, decoded, size = [], [], 0
    for client, arrays in enumerate(capture.noisy):
        payload = codec.encode(arrays, np.random.default_rng([capture.seed, capture.round, client]))
        size += len(payload)
        updates.append(flat(arrays).astype(np.float64))
        decoded.append(flat(codec.decode(payload)).astype(np.float64))
    sent, got = np.stack(updates), np.stack(decoded)
    gain = float(np.sum(got * sent) / np.sum(sent * sent))
    variance, clients = capture.noise_variance, len(sent)
    signal = capture.signals.mean(axis=0, dtype=np.float64)
    lost = (got - sent).mean(axis=0)
    rest = got / gain - sent if gain > 0 else np.full_like(sent, math.nan)
    return {
        "seed": capture.seed,
        "round": capture.round,
        "bits": 8 * size / sent.size,
        "added": _power(got - sent) / variance,
        "added_mean": _power(lost) / variance * clients,
        "gain": gain,
        "equal_gain": _power(rest) / variance,
        "equal_gain_mean": _power(rest.mean(axis=0)) / variance * clients,
        "signal": 1 + float(lost @ signal / (signal @ signal)),
    }


def about(capture: Capture) -> Row:
    """Return what the updates of one round are made of: signal over noise, as powers, of one client and of the mean."""
    mean_signal = capture.signals.mean(axis=0, dtype=np.float64)
    noise = np.stack([flat(arrays) for arrays in capture.noisy]) - capture.signals
    return {
        "seed": capture.seed,
        "round": capture.round,
        "noise_std": math.sqrt(capture.noise_variance),
        "noise_found": _power(noise) / capture.noise_variance,
        "signal_to_noise": _power(capture.signals) / capture.noise_variance,
        "signal_to_noise_mean": _power(mean_signal) / capture.noise_variance * CLIENTS,
    }


def summary(rows: Sequence[Row], asked: float | None) -> Row:
    """Return the means of a chain's rows over seeds and rounds, and ``added`` at its worst."""
    means: Row = {name: mean(row[name] for row in rows) for name in rows[0] if name not in ("seed", "round")}
    least = 1 / (4 ** means["bits"] - 1)
    return {"asked": asked, **means, "worst": max(row["added"] for row in rows), "least": least, "rows": list(rows)}


def bits_at(rows: Sequence[Row], limit: float, value: str = "added") -> float | None:
    """Return the rate at which a codec adds no more than ``limit``, by straight lines in the logarithm between rows.

    None if none of the rows adds so little, or all do.
    """
    ordered = sorted(rows, key=lambda row: float(row["bits"]))
    for left, right in pairwise(ordered):
        if left[value] >= limit >= right[value]:
            place = math.log(left[value] / limit) / math.log(left[value] / right[value])
            return float(left["bits"] + place * (right["bits"] - left["bits"]))
    return None


def rates_of_the_goal(rows: Mapping[str, Row]) -> dict[str, dict[str, float | None]]:
    """Return for each kind of codec the rates at which it adds as much as the goal allows, by what is looked at."""
    return {
        kind: {
            value: bits_at([row for name, row in rows.items() if belongs(name)], LIMIT_ADDED, value) for value in VIEWS
        }
        for kind, belongs in _KINDS.items()
    }


def goals(rows: Mapping[str, Row]) -> list[Goal]:
    """Return the goal for each kind: it has to hold for a client and for the mean."""
    found = []
    for kind, rates in rates_of_the_goal(rows).items():
        needed = [rate for rate in (rates["added"], rates["added_mean"]) if rate is not None]
        text = f"{kind}: bits at {100 * LIMIT_ADDED:g} % more noise variance"
        found.append(Goal(text, LIMIT_BITS, max(needed) if len(needed) == 2 else None, "bits"))
    return found


def table(rows: Mapping[str, Row], updates: Sequence[Row]) -> str:
    """Return the table of ``summary``, with what was coded above it and the rates of the goal below."""
    found = sum(row["noise_found"] for row in updates) / len(updates)
    parts = "; ".join(
        f"{number}: {mean(row['signal_to_noise'] for row in some):.3f}, "
        f"{mean(row['signal_to_noise_mean'] for row in some):.3f}"
        for number, some in _by_round(updates).items()
    )
    titles = ("bits", "least", "client", "worst", "mean", "gain", "client =", "mean =", "signal")
    lines = [
        f"{UNCUT:,} parameters, {CLIENTS} clients; DP-SGD's noise, {found:.4f} of the variance that it should have",
        f"signal over noise by round, of a client and of the mean: {parts}",
        "variance added to the noise, in % of it (least: Shannon's, of Gaussian noise; =: after division by the gain)",
        f"{'codec':22}" + "".join(f"{title:>9}" for title in titles),
    ]
    for name, row in rows.items():
        shown = [100 * row[key] for key in ("least", "added", "worst", "added_mean")]
        shown += [row["gain"], 100 * row["equal_gain"], 100 * row["equal_gain_mean"], row["signal"]]
        lines.append(f"{name:22}{row['bits']:9.3f}" + "".join(f"{value:9.3f}" for value in shown))
    lines.append(f"bits at which {100 * LIMIT_ADDED:g} % are added: to " + ", ".join(VIEWS.values()))
    for kind, rates in rates_of_the_goal(rows).items():
        lines.append(f"{kind:22}" + "".join("        -" if rate is None else f"{rate:9.3f}" for rate in rates.values()))
    return "\n".join([*lines, *(goal.line() for goal in goals(rows))])


def flat(arrays: Arrays) -> Array:
    """Return all values as one vector."""
    return np.concatenate([array.reshape(-1) for array in arrays.values()])


def _update(plan: Plan, model: Arrays, client: int, number: int, *, noise: bool) -> Arrays:
    privacy = plan.config.privacy
    module = plan.task.model(plan.model_seed())
    training.set_arrays(module, model)
    split = plan.client_split(client)
    with single_thread():
        return training.train_private(
            module,
            split,
            loss=plan.task.loss,
            sampler=PoissonSampler(len(split), privacy.sampling_probability, plan.local_steps),
            nominal_examples=privacy.nominal_examples or 0,
            max_grad_norm=privacy.max_grad_norm,
            noise_multiplier=(privacy.noise_multiplier or 0.0) if noise else 0.0,
            learning_rate=plan.config.training.learning_rate,
            draws=training.Draws(*np.random.default_rng([plan.config.seed, number, client]).spawn(2)),
        ).arrays


def noise_std(plan: Plan) -> float:
    """Return the standard deviation of the noise on one parameter of an update of one step."""
    privacy = plan.config.privacy
    batch = privacy.sampling_probability * (privacy.nominal_examples or 0)
    return plan.config.training.learning_rate * (privacy.noise_multiplier or 0.0) * privacy.max_grad_norm / batch


def _dither(step: float) -> Config:
    return [{"id": "dither", "step_rms": step}, {"id": "rans"}]


def _step(step: float) -> Config:
    return [{"id": "step", "step_rms": step, "dead_zone": 0.5}, {"id": "rans"}]


def _power(values: Array) -> float:
    return float(np.mean(np.square(values, dtype=np.float64)))


def _by_round(rows: Sequence[Row]) -> dict[int, list[Row]]:
    return {number: [row for row in rows if row["round"] == number] for number in sorted({r["round"] for r in rows})}
