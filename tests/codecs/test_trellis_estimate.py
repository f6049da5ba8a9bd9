"""What is expected of a step before all values are searched, against what then is found."""

import numpy as np
import pytest

from fedcomp.codecs.trellis import decode_trellis
from fedcomp.codecs.trellis.blocks import Blocks
from fedcomp.codecs.trellis.encoder import expected_size, search
from fedcomp.codecs.trellis.estimate import Division, Learnt, estimate, guess
from fedcomp.codecs.trellis.machine import BLOCK
from fedcomp.codecs.trellis.outlook import Outlook
from fedcomp.codecs.trellis.scalar import quantize

RNG = np.random.default_rng(3)
GAUSSIAN = RNG.standard_normal(2**17).astype(np.float32)
SCALES = np.repeat(2.0 ** RNG.uniform(-4, 3, 2**17 // 4096), 4096).astype(np.float32)
LAPLACE = RNG.laplace(size=2**17 + 100).astype(np.float32)


def learnt_at(values: np.ndarray, step: float) -> tuple[Blocks, Division, Learnt]:
    blocks = Blocks(values)
    division = Division.of(blocks.scales(), step)
    models = estimate(blocks, blocks.scales(), division, guess(blocks, division)).taught
    return blocks, division, models


@pytest.mark.parametrize(
    ("values", "step"), [(GAUSSIAN, 0.05), (GAUSSIAN, 0.5), (GAUSSIAN * SCALES, 0.5), (LAPLACE, 1.5)]
)
def test_what_is_expected_is_what_is_found(values: np.ndarray, step: float) -> None:
    blocks, division, models = learnt_at(values, step)
    expected = estimate(blocks, blocks.scales(), division, models)
    found = search(blocks, division, models, expected.bits, measure=True)
    payload = found.dump()
    assert found.size == pytest.approx(len(payload), rel=2e-3)
    assert expected_size(division, expected.bits) == pytest.approx(len(payload), rel=0.01)
    decoded = decode_trellis(memoryview(payload), len(values)).astype(np.float64)
    off = np.square(np.append(decoded - values, np.zeros(-len(values) % BLOCK))).reshape(-1, BLOCK).sum(axis=1)
    silent = float(off[division.silent].sum())
    assert expected.error == pytest.approx(off.sum() - silent, rel=0.03)
    # What fills the last block is decoded, too, and dropped.
    assert found.error == pytest.approx(off.sum() - silent, rel=1e-9, abs=100 * step**2 * (len(values) % BLOCK > 0))
    assert float(blocks.energies(division.silent).sum()) == pytest.approx(silent, rel=1e-5)


def test_a_step_nearby_is_expected_with_the_models_of_another_one() -> None:
    blocks, _, models = learnt_at(GAUSSIAN * SCALES, 0.5)
    division = Division.of(blocks.scales(), 0.55)
    expected = estimate(blocks, blocks.scales(), division, models.nearest(division.octaves))
    found = search(blocks, division, models.nearest(division.octaves), expected.bits)
    assert expected_size(division, expected.bits) == pytest.approx(found.size, rel=0.01)
    assert division.size == BLOCK * sum(len(blocks) for blocks in division.members)


def test_values_of_many_levels_need_to_be_looked_at_once_only() -> None:
    blocks, division, models = learnt_at(GAUSSIAN, 0.01)
    again = estimate(blocks, blocks.scales(), division, models)
    assert again.seen[0].magnitudes is None
    assert models.models[0].rate is not None
    finer = Division.of(blocks.scales(), 0.005)
    bits = estimate(blocks, blocks.scales(), finer, models.nearest(finer.octaves)).bits
    assert bits - again.bits == pytest.approx(len(GAUSSIAN), rel=1e-3)


@pytest.mark.parametrize(("values", "step", "better"), [(GAUSSIAN, 0.5, True), (LAPLACE, 4.5, False)])
def test_the_lead_over_a_scalar_quantizer(values: np.ndarray, step: float, better: bool) -> None:
    """At two bits it is about a decibel of the error; where nearly all values are zero there is none."""
    blocks, division, models = learnt_at(values, step)
    expected = estimate(blocks, blocks.scales(), division, models)
    lead = sum(each.lead for each in expected.seen) * step**2 / expected.error
    assert (lead > 0.15) == better
    assert lead > -0.05


def test_a_scalar_quantizer_costs_what_its_levels_do() -> None:
    """At a high rate rounding is to the nearest level: entropy and error can be computed directly."""
    magnitudes = np.abs(GAUSSIAN) / np.float32(0.2)
    levels = np.rint(GAUSSIAN / 0.4)
    _, counts = np.unique(levels, return_counts=True)
    entropy = float(counts @ np.log2(len(levels) / counts))
    found = quantize(magnitudes, 2.0)
    assert found.bits == pytest.approx(entropy, rel=0.02)
    assert found.error == pytest.approx(float(np.square(GAUSSIAN / 0.2 - 2 * levels).sum()), rel=0.05)


@pytest.mark.parametrize(
    ("values", "step", "bits"),
    [(GAUSSIAN, 0.13, 4.0), (GAUSSIAN, 0.96, 1.0), (LAPLACE * np.float32(0.7071), 1.2, 0.48)],
)
def test_the_outlook_is_about_right(values: np.ndarray, step: float, bits: float) -> None:
    blocks = Blocks(values)
    outlook = Outlook.of(blocks, blocks.scales())
    assert outlook.bits(float(np.log2(step))) == pytest.approx(bits, rel=0.25)
    assert outlook.bits(float(np.log2(step)) - 1) > 1.2 * bits
    assert outlook.error(float(np.log2(step))) < outlook.error(float(np.log2(step)) + 0.5)


@pytest.mark.parametrize(
    ("values", "plain"),
    [
        (GAUSSIAN, True),
        (GAUSSIAN * SCALES, True),
        (np.rint(GAUSSIAN).astype(np.float32), False),
        (GAUSSIAN * np.resize(np.repeat([0.05, 1.0], 64), 2**17).astype(np.float32), False),
    ],
    ids=["gaussian", "mixed scales", "few values", "scales within a block"],
)
def test_values_that_mode_fast_may_be_better_at_are_noticed(values: np.ndarray, plain: bool) -> None:
    blocks = Blocks(values)
    assert Outlook.of(blocks, blocks.scales()).is_plain(-1.0) == plain
