"""What the codecs are measured on: five sources drawn from named seeds, each with its rate-distortion bound.

``python -m benchmarks.codec_sources --bounds`` computes the tables of ``CURVES`` again (some minutes on one core).
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.codec_bounds import SLOPES, Curve, Floats, blahut_arimoto, water_filling

Values = NDArray[np.float32]
LAYERS = 64
DECADES = 2.5
SOURCES = ("gaussian", "laplace", "student-t3", "mixed", "mixed-laplace")

CURVES = {
    "gaussian": Curve(1.0),
    "laplace": Curve(
        math.e / math.pi,
        (
            (0.2, 0.000736, 0.996796),
            (0.25, 0.004230, 0.986302),
            (0.3, 0.013079, 0.964217),
            (0.35, 0.028583, 0.931290),
            (0.4, 0.050427, 0.890984),
            (0.45, 0.077501, 0.846861),
            (0.5, 0.108220, 0.802041),
            (0.6, 0.176084, 0.716387),
            (0.7, 0.246814, 0.640821),
            (0.85, 0.350105, 0.548078),
            (1.0, 0.445908, 0.476060),
            (1.3, 0.613109, 0.374303),
            (1.7, 0.794069, 0.289760),
            (2.5, 1.063426, 0.198720),
            (4.0, 1.398189, 0.124704),
            (8.0, 1.896258, 0.062464),
        ),
    ),
    "student-t3": Curve(
        32 * math.pi / math.e**5,
        (
            (0.05, 0.002322, 0.911900),
            (0.08, 0.004964, 0.883481),
            (0.12, 0.009553, 0.851475),
            (0.16, 0.015290, 0.822993),
            (0.2, 0.021954, 0.797291),
            (0.25, 0.031657, 0.767352),
            (0.3, 0.042687, 0.739537),
            (0.35, 0.054943, 0.713397),
            (0.4, 0.068333, 0.688647),
            (0.5, 0.098156, 0.642618),
            (0.6, 0.132395, 0.599419),
            (0.8, 0.209484, 0.522863),
            (1.0, 0.295958, 0.456089),
            (1.3, 0.432154, 0.373558),
            (1.7, 0.605715, 0.292669),
            (2.5, 0.880152, 0.199956),
            (4.0, 1.219031, 0.124997),
            (8.0, 1.719008, 0.062500),
        ),
    ),
}
"""Bounds at unit variance. Shannon's constant is exp(2 h) / (2 pi e), h the differential entropy."""


@dataclass(frozen=True, eq=False)
class Source:
    """Values, 1-D; ``power`` is what a squared error is divided by; ``layers`` are variances that no codec is told."""

    name: str
    seed: int
    values: Values
    power: float
    layers: Floats

    def nmse(self, decoded: Values) -> float:
        """Return the mean squared error over ``power``."""
        total = 0.0
        for at in range(0, self.values.size, 2**20):
            part = slice(at, at + 2**20)
            total += float(np.sum(np.square(self.values[part] - decoded[part], dtype=np.float64)))
        return total / self.values.size / self.power

    def bound(self, bits: float) -> float:
        """Return the least ``nmse`` at a rate in bits a value."""
        curve = CURVES["laplace" if self.name == "mixed-laplace" else self.name.replace("mixed", "gaussian")]
        if self.layers.size == 1:
            return curve.distortion(bits)
        return water_filling(curve, self.layers, bits) / float(self.layers.mean())

    def gap_db(self, bits: float, nmse: float) -> float:
        """Return how far an error lies above the bound at the rate that was really paid, in dB."""
        return 10 * math.log10(nmse / self.bound(bits))


def draw(name: str, size: int, seed: int = 0) -> Source:
    """Return a source of ``size`` values; those of 64 layers take a multiple of 64.

    An error is divided by the mean square of the very values, but for Student's t by its true variance, 3: the mean
    square of a million draws, whose fourth moment is infinite, is a per cent off and says nothing about the rest.
    Mixed scales: equal layers one after the other, standard deviations evenly spaced in the logarithm, in random order.
    """
    if name not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {name!r}")
    rng = np.random.default_rng([seed, SOURCES.index(name)])
    one = np.ones(1)
    if name == "gaussian":
        values = rng.standard_normal(size, dtype=np.float32)
    elif name == "laplace":
        values = rng.laplace(scale=math.sqrt(0.5), size=size).astype(np.float32)
    elif name == "student-t3":
        return Source(name, seed, rng.standard_t(3, size).astype(np.float32), 3.0, one)
    else:
        if size % LAYERS:
            raise ValueError(f"size must be a multiple of {LAYERS} for {name}, got {size}")
        scales = rng.permutation(np.logspace(0, -DECADES, LAYERS)).astype(np.float32)
        inside = draw(name.removeprefix("mixed-").replace("mixed", "gaussian"), size, seed + 1).values
        layers = inside.reshape(LAYERS, -1) * scales[:, None]
        power = np.mean(np.square(layers, dtype=np.float64), axis=1)
        return Source(name, seed, layers.reshape(-1), float(power.mean()), power)
    return Source(name, seed, values, float(np.mean(np.square(values, dtype=np.float64))), one)


def main() -> None:
    """Print the tables of ``CURVES``, computed again."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec_sources", description=__doc__)
    parser.add_argument("--bounds", action="store_true", required=True, help="compute the rate-distortion tables")
    parser.parse_args()
    for name, slopes in SLOPES.items():
        print(f"{name}: slope (nats), bits, distortion")
        for slope in slopes:
            bits, distortion = blahut_arimoto(name, slope)
            print(f"    ({slope}, {bits:.6f}, {distortion:.6f}),", flush=True)


if __name__ == "__main__":
    main()
