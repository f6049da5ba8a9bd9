"""The Gaussian mechanism besides its contract: what cannot be built, and what rounding may not do."""

import inspect

import dp_accounting as dp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedcomp.arrays import ArraysError, add, l2_norm, scale
from fedcomp.privacy import ClippedSum, GaussianMechanism, PrivateUpdate

MECHANISM = GaussianMechanism(1.0, 1.1)


@settings(deadline=None, max_examples=150)
@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        hnp.array_shapes(max_dims=2, max_side=30),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    st.sampled_from([1e-6, 1e-3, 0.7, 1.0, 1e4]),
)
def test_clip_never_exceeds_the_bound_and_never_raises_a_norm(array, bound):
    clipped, norm = GaussianMechanism(bound, 1.0).clip({"a": array})
    after = l2_norm(clipped)
    assert after <= bound
    assert after <= norm * (1 + 1e-15)  # the two sum differently scaled squares, and may round apart
    assert (np.abs(clipped["a"]) <= np.abs(array)).all()


def test_one_client_of_many_examples_weighs_no_more_than_another():
    """Row 3: with weights by num_examples one client moves the sum by many times the assumed sensitivity."""
    updates = [{"a": np.full(4, 0.5)} for _ in range(10)]
    num_examples = [5000] + [50] * 9
    share = num_examples[0] / sum(num_examples)
    wrong = l2_norm(scale(MECHANISM.clip(updates[0])[0], share * len(updates)))
    assert wrong == pytest.approx(9.17, abs=0.01)  # times the sensitivity: what was shipped
    total = ClippedSum.zero(MECHANISM, updates[0])
    for update, count in zip(updates, num_examples, strict=True):
        weighted = total.add(scale(update, count))  # whoever weighs before the sum is clipped with the weight
        moved = {"a": weighted.total["a"] - total.total["a"]}
        assert l2_norm(moved) <= MECHANISM.sensitivity * (1 + 1e-12)
        total = total.add(update)


def test_nothing_in_a_private_sum_takes_a_weight():
    assert list(inspect.signature(ClippedSum.add).parameters) == ["self", "update"]
    assert list(inspect.signature(ClippedSum.zero).parameters) == ["mechanism", "like"]
    assert list(inspect.signature(GaussianMechanism.noise).parameters) == ["self", "total", "rng"]


def test_noise_is_refused_on_a_sum_that_another_bound_clipped():
    """Row 2: a bound that was updated before the noise is drawn would make the noise too small."""
    looser = ClippedSum.zero(GaussianMechanism(2.0, 1.1), {"a": np.zeros(3)})
    with pytest.raises(ValueError, match="expected a sum clipped by"):
        MECHANISM.noise(looser, np.random.default_rng(0))


def test_noise_is_refused_on_raw_arrays():
    with pytest.raises(AttributeError):
        MECHANISM.noise({"a": np.zeros(3)}, np.random.default_rng(0))


def test_an_unchanged_model_counts_as_a_participant():
    """Row 4: an update of norm zero."""
    zero = {"a": np.zeros(3, np.float32)}
    total = ClippedSum.zero(MECHANISM, zero).add(zero)
    assert l2_norm(total.total) == 0
    assert MECHANISM.noise(total, np.random.default_rng(0)).event == dp.GaussianDpEvent(1.1)


def test_an_empty_sum_is_noised_like_any_other():
    released = MECHANISM.noise(ClippedSum.zero(MECHANISM, {"a": np.zeros(1000)}), np.random.default_rng(0))
    assert 0.9 < released.arrays["a"].std() / MECHANISM.noise_std < 1.1


def test_rounding_to_a_grid_after_the_clip_is_clipped_again():
    """Row 10: quantizing raises the norm; what the accountant used holds only after a second clip."""
    rng, bound = np.random.default_rng(0), 1.0
    clipped, _ = MECHANISM.clip({"a": rng.standard_normal(256).astype(np.float32)})
    step = 2 * float(np.abs(clipped["a"]).max()) / 3  # two bits
    draws = np.floor(clipped["a"] / step + rng.random(256)).astype(np.float32)
    decoded = {"a": (draws * step).astype(np.float32)}
    assert l2_norm(decoded) > 1.2 * bound
    again = ClippedSum.zero(MECHANISM, decoded).add(decoded)
    assert l2_norm(again.total) <= bound


def test_updates_that_do_not_fit_are_refused_by_name():
    total = ClippedSum.zero(MECHANISM, {"a": np.zeros(3)})
    with pytest.raises(ArraysError, match="'a'"):
        total.add({"a": np.zeros(4)})
    with pytest.raises(ArraysError, match="named"):
        total.add({"b": np.zeros(3)})


def test_the_sum_of_many_float32_updates_stays_exact():
    one = {"a": np.full(10, 0.1, np.float32)}
    total = ClippedSum.zero(MECHANISM, one)
    for _ in range(1000):
        total = total.add(one)
    np.testing.assert_allclose(total.total["a"], 1000 * np.float64(np.float32(0.1)), rtol=1e-12)


def test_post_processing_keeps_the_event():
    update = PrivateUpdate({"a": np.ones(2)}, dp.GaussianDpEvent(1.0))
    doubled = update.post_process(lambda arrays: add(arrays, arrays))
    assert doubled.event == update.event
    np.testing.assert_array_equal(doubled.arrays["a"], [2, 2])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((0.0, 1.0), "clipping_norm"),
        ((-1.0, 1.0), "clipping_norm"),
        ((float("inf"), 1.0), "clipping_norm"),
        ((float("nan"), 1.0), "clipping_norm"),
        ((1.0, -1.0), "noise_multiplier"),
        ((1.0, float("nan")), "noise_multiplier"),
    ],
)
def test_refusals(arguments, name):
    with pytest.raises(ValueError, match=name):
        GaussianMechanism(*arguments)
