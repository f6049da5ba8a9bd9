"""A CNN trained end to end by DP-SGD by one party that holds all of Fashion-MNIST: no federation, no codec.

``python -m benchmarks.private_cnn [--seeds 0 1 2] [--epochs 40] [--json FILE]``, eight minutes a seed on one free core.
Model and hyper-parameters are published ones (see ``benchmarks.utility_models``: batch 2,048, step 4, momentum .9,
bound .1), with the noise that epsilon 3 at delta 1e-5 needs by privacy loss distributions. One call of
``train_private``; a seed fixes the first weights, noise and batches are secret.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.utility_models import tanh_cnn
from fedcomp import arrays
from fedcomp.evaluation import evaluate
from fedcomp.privacy import PoissonSampler, calibrate_noise_multiplier, epsilon
from fedcomp.threads import single_thread
from fedcomp.training import get_arrays, set_arrays, train_private

_TARGET, _DELTA, _BATCH = 3.0, 1e-5, 2048


def main(arguments: Sequence[str] | None = None) -> int:
    """Train with each seed and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, default=40)
    parser.add_argument("--json", type=Path, help="write the table there")
    options = parser.parse_args(arguments)
    rows = []
    for seed in options.seeds:
        with single_thread():
            rows.append(trained(seed, options.epochs))
        sys.stdout.write(
            "seed {seed}: {accuracy:.2%} at epsilon = {epsilon:.3f}, delta = {delta:g} for each example (add or remove "
            "one, PLD), noise {noise_multiplier}, {steps} steps, {seconds:.0f} s\n".format(**rows[-1])
        )
        sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def trained(seed: int, epochs: float) -> dict[str, Any]:
    """Return what one training gave."""
    task = tanh_cnn()
    train, test, module = task.train(), task.test(), task.model(seed)
    rate = _BATCH / len(train)
    sampler = PoissonSampler(len(train), rate, max(1, round(epochs / rate)))
    noise = calibrate_noise_multiplier(_TARGET, _DELTA, rate, sampler.steps)
    began = time.perf_counter()
    update = train_private(
        module,
        train,
        loss=task.loss,
        sampler=sampler,
        nominal_examples=len(train),
        max_grad_norm=0.1,
        noise_multiplier=noise,
        learning_rate=4.0,
        momentum=0.9,
    )
    seconds = time.perf_counter() - began
    set_arrays(module, arrays.add(get_arrays(module), update.arrays))
    found = evaluate(module, test.inputs, test.targets, task.loss, task.metric)
    return {
        "seed": seed,
        "accuracy": found.accuracy,
        "epsilon": epsilon([(update.event, 1)], _DELTA),
        "delta": _DELTA,
        "noise_multiplier": noise,
        "steps": sampler.steps,
        "seconds": seconds,
    }


if __name__ == "__main__":
    sys.exit(main())
