"""Kinds of attention against what they are by definition, over all pairs of places."""

import pytest
import torch

from benchmarks.attention import KINDS, measure, table
from fedcomp.tasks.models.attention import HIDDEN, Full, TopK, Windowed

LENGTHS = (1, 3, 4, 7, 12)


def texts(length, rows=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, 3, length, 4, generator=generator, dtype=torch.float64) for _ in range(3)]


def by_definition(query, key, value, hidden):
    scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
    return scores.masked_fill(hidden, -1e9).softmax(dim=3) @ value


def hidden_places(length, causal, width=None):
    distance = torch.arange(length) - torch.arange(length)[:, None]
    hidden = (distance > 0) if causal else torch.zeros(length, length, dtype=torch.bool)
    return hidden if width is None else hidden | (distance.abs() > width)


def padding(length):
    """The second row's last place is none."""
    bias = torch.zeros(2, 1, 1, length, dtype=torch.float64)
    bias[1, ..., -1] = HIDDEN
    return bias


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("width", [None, 1, 2, 5])
def test_full_and_windowed_are_what_they_are_by_definition(width, length, causal):
    kind = Full() if width is None else Windowed(width)
    hidden = hidden_places(length, causal, width)
    expected = by_definition(*texts(length), hidden)
    torch.testing.assert_close(kind(*texts(length), None, causal), expected)
    if length > 1:
        padded = by_definition(*texts(length), hidden | (padding(length) < 0))
        # a place whose every key is padding has nothing to see, and what it gets is nobody's business
        seen = ~(hidden | (padding(length) < 0)).all(dim=3)[:, 0]
        found = kind(*texts(length), padding(length), causal)
        for row in range(2):
            torch.testing.assert_close(found[row][:, seen[row]], padded[row][:, seen[row]])


@pytest.mark.parametrize("causal", [False, True])
def test_the_best_keys_alone_are_seen(causal):
    query, key, value = texts(7)
    scores = query @ key.transpose(2, 3)
    scores = scores.masked_fill(hidden_places(7, causal), -1e9)
    worse = scores < scores.sort(dim=3, descending=True).values[..., 1:2]
    expected = by_definition(query, key, value, worse | hidden_places(7, causal))
    torch.testing.assert_close(TopK(2)(query, key, value, None, causal), expected)


@pytest.mark.parametrize("causal", [False, True])
def test_as_many_keys_as_places_are_full_attention(causal):
    for kind in (TopK(12), TopK(40), Windowed(12)):
        torch.testing.assert_close(
            kind(*texts(12), padding(12), causal), Full()(*texts(12), padding(12), causal), atol=1e-6, rtol=1e-6
        )


@pytest.mark.parametrize("kind", [Full(), Windowed(3), TopK(2)])
def test_the_last_place_alone_gets_what_it_gets_among_all(kind):
    query, key, value = texts(9)
    torch.testing.assert_close(kind.last(query[:, :, -1:], key, value), kind(query, key, value, None, True)[:, :, -1:])


@pytest.mark.parametrize("kind", [Full(), Windowed(2), TopK(2)])
def test_nothing_to_see_is_not_nan(kind):
    bias = torch.full((2, 1, 1, 6), HIDDEN, dtype=torch.float64)
    assert kind(*texts(6), bias, False).isfinite().all()


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        Windowed(0)
    with pytest.raises(ValueError, match="keys must be at least 1, got 0"):
        TopK(0)
    query, key, value = texts(4)
    with pytest.raises(ValueError, match="as many keys as queries, 4, got 3"):
        Windowed(2)(query, key[:, :, :3], value[:, :, :3], None, False)


def test_the_benchmark_measures_every_kind():
    rows = measure(16, causal=True, rounds=7)
    assert [row.kind for row in rows] == list(KINDS)
    assert rows[0].speed_up == 1
    assert "decoder" in table(rows)
