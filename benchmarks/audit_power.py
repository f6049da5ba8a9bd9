"""What the privacy audit's bounds reach on the exact mechanism, how often they cry wolf, and what they detect.

``python -m benchmarks.audit_power`` prints three tables (one run with canaries; independent calls of one step; noise
and samples) and the goals. The mechanism is simulated along the canaries' directions alone: noise of each round, plus
the canary where it is in the batch; nothing else of a run reaches them. Streams are Philox, seeds are 0, 1, 2, ...
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.codec_goals import Goal
from fedcomp.audit.gaussian_dp import epsilon_of_mu
from fedcomp.audit.noise_checks import NoiseCheck, check_noise
from fedcomp.audit.one_run import OneRunAudit, audit_one_run
from fedcomp.audit.sampling_checks import check_inclusions
from fedcomp.audit.step_bound import step_audit
from fedcomp.privacy.calibration import calibrate_noise_multiplier
from fedcomp.privacy.sampling import PoissonSampler
from fedcomp.rng import stream

DELTA, ALPHA = 1e-5, 0.05
BOUNDS = ("count", "f_dp", "gaussian_pair")
Row = dict[str, Any]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Setting:
    """One claim, and how many canaries and audits it is looked at with."""

    name: str
    sampling_probability: float
    noise_multiplier: float
    rounds: int
    canaries: int
    audits: int

    def event(self) -> Any:
        """Return the claim."""
        return PoissonSampler(1, self.sampling_probability, self.rounds).event(self.noise_multiplier)


@dataclass(frozen=True)
class Wrong:
    """How what is run differs from the claim: factors on the noise, on the canary's norm, on the probability."""

    name: str
    noise: float = 1.0
    norm: float = 1.0
    sampling: float = 1.0


EXACT = Wrong("as claimed")
WRONGS = (
    Wrong("noise / 2", noise=0.5),
    Wrong("noise / sqrt 2", noise=math.sqrt(0.5)),
    Wrong("noise x 0.9", noise=0.9),
    Wrong("sensitivity x 2", norm=2.0),
    Wrong("probability x 2", sampling=2.0),
    Wrong("no canary effect", norm=0.0),
)
EXAMPLES = Setting("examples, epsilon 3", 0.1365, 3.394, 292, 5000, 200)


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    started = time.perf_counter()
    rows = _one_run_rows(asked.quick)
    steps = [_step_row(noise, asked.quick) for noise in (1.0, 2.0, 4.0)]
    parts = _part_rows(20 if asked.quick else 200)
    goals = _goals(rows, steps)
    _print(steps, "independent calls of one step, of theory: counted, pair", _step_line)
    _print(parts, "noise and samples", _part_line)
    print("\n" + "\n".join(goal.line() for goal in goals))
    print(f"\n{time.perf_counter() - started:.0f} s")
    if asked.json:
        verdicts = [vars(goal) | {"verdict": goal.verdict()} for goal in goals]
        content = {"one_run": rows, "step": steps, "parts": parts, "goals": verdicts}
        asked.json.write_text(json.dumps(content, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit_power", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--quick", action="store_true", help="few audits of each kind: a minute, not for goals")
    return parser.parse_args()


def settings() -> list[Setting]:
    """Return what is measured beside ``EXAMPLES``: other numbers of canaries, other claims, and clients as units."""
    clients = Setting("clients, epsilon 3", 0.3, calibrate_noise_multiplier(3.0, DELTA, 0.3, 150), 150, 5000, 100)
    few = [replace(EXAMPLES, canaries=count, audits=30) for count in (1000, 2000, 20000)]
    return [
        *few,
        replace(EXAMPLES, name="examples, epsilon 1", noise_multiplier=7.03, rounds=183, audits=30),
        replace(EXAMPLES, name="examples, epsilon 8", noise_multiplier=1.607, audits=30),
        clients,
        replace(clients, canaries=1000, audits=30),
    ]


def observe(setting: Setting, wrong: Wrong, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """Return what is seen of each canary ``[rounds, m]``, in units of the bound, and which are held in."""
    shape = setting.rounds, setting.canaries
    held_in = rng.random(setting.canaries) < 0.5
    noise = rng.standard_normal(shape) * (wrong.noise * setting.noise_multiplier)
    included = rng.random(shape) < wrong.sampling * setting.sampling_probability
    return noise + wrong.norm * (included & held_in), held_in


def audits(setting: Setting, wrong: Wrong, count: int) -> tuple[list[OneRunAudit], float]:
    """Return the audits of so many runs, and the most seconds of processor time that one took."""
    found, longest = [], 0.0
    for seed in range(count):
        rng = stream(seed, "audit-power", setting.name, setting.canaries, wrong.name)
        observed, held_in = observe(setting, wrong, rng)
        started = time.process_time()
        found.append(
            audit_one_run(
                observed,
                held_in,
                [(setting.event(), 1)],
                sampling_probability=setting.sampling_probability,
                noise_multiplier=setting.noise_multiplier,
                delta=DELTA,
                rng=rng,
                alpha=ALPHA,
            )
        )
        longest = max(longest, time.process_time() - started)
    return found, longest


def _one_run_rows(quick: bool) -> list[Row]:
    print("one run: median of each bound, and the share of audits that refute the claim")
    print(f"{'claim':<22}{'m':>6} {'what is run':<17}{'runs':>5}{'theory':>7}" + "".join(f"{b:>20}" for b in BOUNDS))
    jobs = [(EXAMPLES, EXACT, 5 if quick else EXAMPLES.audits)]
    jobs += [(EXAMPLES, wrong, 3 if quick else 20) for wrong in WRONGS]
    jobs += [] if quick else [(setting, EXACT, setting.audits) for setting in settings()]
    jobs += [] if quick else [(settings()[-2], wrong, 10) for wrong in WRONGS]
    rows = []
    for setting, wrong, count in jobs:
        found, seconds = audits(setting, wrong, count)
        rows.append(_one_run_row(setting, wrong, found) | {"seconds": seconds})
        print(_one_run_line(rows[-1]), flush=True)
    return rows


def _one_run_row(setting: Setting, wrong: Wrong, found: list[OneRunAudit]) -> Row:
    row: Row = {
        "claim": setting.name,
        "canaries": setting.canaries,
        "run": wrong.name,
        "audits": len(found),
        "theory": found[0].epsilon_claimed,
    }
    for name in BOUNDS:
        bounds = [getattr(audit, name) for audit in found]
        values = [bound.epsilon_lower_bound for bound in bounds]
        row[name] = median(values)
        row[f"{name}_refuted"] = sum(bound.refuted for bound in bounds) / len(bounds)
        row[f"{name}_above_0"] = sum(value > 0 for value in values) / len(bounds)
    return row


def _one_run_line(row: Row) -> str:
    head = f"{row['claim']:<22}{row['canaries']:>6} {row['run']:<17}{row['audits']:>5}{row['theory']:>7.2f}"
    return head + "".join(
        f"{row[name]:>8.2f} {row[name] / row['theory']:>4.0%} {row[f'{name}_refuted']:>5.1%}" for name in BOUNDS
    )


def _step_row(noise: float, quick: bool) -> Row:
    size, turns = (100_000, 3) if quick else (1_000_000, 15)
    theory = epsilon_of_mu(1 / noise, DELTA)
    event = PoissonSampler(1, 1.0, 1).event(noise)
    row: Row = {"noise_multiplier": noise, "samples": size, "turns": turns, "theory": theory}
    for name, factor in (("exact", 1.0), ("x0.9", 0.9), ("x0.95", 0.95)):
        found = []
        for seed in range(turns):
            rng = stream(seed, "audit-step", str(noise), name)
            out, in_ = (rng.standard_normal(size) * noise * factor + shift for shift in (0.0, 1.0))
            found.append(step_audit(out, in_, DELTA, 1 - ALPHA, rng, event))
        row[name] = median(audit.epsilon_lower_bound for audit in found) / theory
        row[f"{name}_pair"] = median(audit.epsilon_gaussian_pair for audit in found) / theory
        row[f"{name}_above"] = sum(audit.epsilon_lower_bound > theory for audit in found) / turns
        row[f"{name}_violations"] = sum(audit.violation is not None for audit in found) / turns
    return row


def _step_line(row: Row) -> str:
    head = f"noise {row['noise_multiplier']:g}, {row['samples']:,} calls each, {row['turns']} turns:"
    return head + ";".join(
        f" {name} {row[name]:.3f} {row[f'{name}_pair']:.3f}, above {row[f'{name}_above']:.0%},"
        f" profile broken {row[f'{name}_violations']:.0%}"
        for name in ("exact", "x0.9", "x0.95")
    )


def _part_rows(turns: int) -> list[Row]:
    """Return how often each check of noise [300, 700] and of inclusions [150, 1000] fails, by what is wrong."""

    def noise(change: Callable[[Floats, np.random.Generator], Floats]) -> Callable[[int], tuple[NoiseCheck, ...]]:
        def one(seed: int) -> tuple[NoiseCheck, ...]:
            rng = stream(seed, "audit-noise")
            return check_noise(change(rng.standard_normal((300, 700)), rng), 1.0)

        return one

    def sample(draw: Callable[[np.random.Generator], Bools]) -> Callable[[int], tuple[NoiseCheck, ...]]:
        return lambda seed: check_inclusions(draw(stream(seed, "audit-sample")), 0.25)

    def shuffled(rng: np.random.Generator) -> Bools:
        epochs = [rng.permutation(1000).reshape(4, 250) for _ in range(38)]
        return np.stack([np.isin(np.arange(1000), batch) for batch in np.concatenate(epochs)[:150]])

    cases = {
        "noise as claimed": noise(lambda x, _: x),
        "noise x 0.95": noise(lambda x, _: 0.95 * x),
        "noise x 0.99": noise(lambda x, _: 0.99 * x),
        "Laplace, same variance": noise(lambda x, rng: rng.laplace(size=x.shape) / math.sqrt(2)),
        "seed set anew every 10 rounds": noise(lambda x, _: np.tile(x[:10], (30, 1))),
        "one round repeated once": noise(lambda x, _: np.concatenate([x[:299], x[:1]])),
        "Poisson": sample(lambda rng: rng.random((150, 1000)) < 0.25),
        "probability x 1.05": sample(lambda rng: rng.random((150, 1000)) < 0.2625),
        "fixed size": sample(lambda rng: np.argsort(rng.random((150, 1000)), axis=1) < 250),
        "shuffled": sample(shuffled),
        "30 % available": sample(lambda rng: (rng.random((150, 1000)) < 0.25 / 0.3) & (rng.random(1000) < 0.3)),
    }
    rows = []
    for name, check in cases.items():
        failed = [[part.name for part in check(seed) if not part.holds] for seed in range(turns)]
        named = sorted({part for names in failed for part in names})
        by_name = {part: sum(part in names for names in failed) / turns for part in named}
        rows.append({"case": name, "turns": turns, "detected": sum(map(bool, failed)) / turns, "by": by_name})
    return rows


def _part_line(row: Row) -> str:
    by = ", ".join(f"{name} {share:.0%}" for name, share in row["by"].items())
    return f"{row['case']:<31}{row['detected']:>6.1%} of {row['turns']}   {by}"


def _goals(rows: list[Row], steps: list[Row]) -> list[Goal]:
    exact = [row for row in rows if row["run"] == EXACT.name]
    main_row = exact[0]
    null = next(row for row in rows if row["run"] == "no canary effect")
    goals = [
        Goal(
            "m = 5,000, epsilon 3: f-DP bound over theory", 0.45, main_row["f_dp"] / main_row["theory"], "", floor=True
        ),
        Goal(
            "m = 5,000, epsilon 3: Gaussian pair", 0.8, main_row["gaussian_pair"] / main_row["theory"], "", floor=True
        ),
        Goal(
            "step, 1,000,000 calls, noise 1 to 4: least median over theory",
            0.95,
            min(s["exact"] for s in steps),
            "",
            True,
        ),
        Goal("most seconds of one audit", 10.0, max(row["seconds"] for row in rows), "s"),
    ]
    for name in BOUNDS:
        alarms = max(row[f"{name}_refuted"] - _limit(row["audits"]) for row in exact)
        goals.append(Goal(f"{name}: false alarms over their 99 % limit, worst claim", 0.0, alarms, ""))
        above = null[f"{name}_above_0"] - _limit(null["audits"])
        goals.append(Goal(f"{name}: above 0 without a canary's effect, over the limit", 0.0, above, ""))
    return goals


def _limit(count: int) -> float:
    return float(stats.binom.ppf(0.99, count, ALPHA)) / count


def _print(rows: list[Row], title: str, line: Callable[[Row], str]) -> None:
    print("\n" + "\n".join([title, *map(line, rows)]), flush=True)


if __name__ == "__main__":
    main()
