import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.errors import ConfigError
from fedcomp.rng import stream
from fedcomp.tasks.partition import partition, split_public

TARGETS = np.arange(400) % 10


def split(kind="iid", clients=8, alpha=0.5, least=1, seed=0, targets=TARGETS, groups=None):
    return partition(targets, groups, clients, kind, alpha, least, stream(seed, "partition"))


def check_disjoint(shares, clients, rows):
    assert len(shares) == clients
    assert all(share.dtype == np.int64 and (np.diff(share) > 0).all() for share in shares)
    together = np.concatenate(shares)
    assert len(together) == len(set(together.tolist()))
    assert set(together.tolist()) <= set(range(rows))


@settings(max_examples=15, deadline=None)
@given(clients=st.integers(1, 12), seed=st.integers(0, 5), kind=st.sampled_from(["iid", "dirichlet"]))
def test_every_row_goes_to_exactly_one_client(clients, seed, kind):
    shares = split(kind, clients, seed=seed, alpha=5.0)
    check_disjoint(shares, clients, 400)
    assert sum(map(len, shares)) == 400


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "task"])
def test_the_seed_decides(kind):
    groups = np.arange(400) % 20
    first, second, other = (split(kind, seed=seed, groups=groups) for seed in (0, 0, 1))
    assert all(np.array_equal(left, right) for left, right in zip(first, second, strict=True))
    assert not all(np.array_equal(left, right) for left, right in zip(first, other, strict=True))


def test_iid_deals_evenly_and_mixes_an_ordered_data_set():
    ordered = np.sort(TARGETS)
    shares = split(targets=ordered)
    assert {len(share) for share in shares} == {50}
    assert all(len(np.unique(ordered[share])) >= 8 for share in shares)


def test_dirichlet_is_the_more_skewed_the_smaller_alpha_is():
    def largest_class(alpha):
        shares = split("dirichlet", clients=5, alpha=alpha)
        return np.mean([np.bincount(TARGETS[share], minlength=10).max() / len(share) for share in shares])

    assert largest_class(100.0) < 0.2 < largest_class(0.1)


def test_natural_clients_keep_their_rows_and_some_are_drawn_where_there_are_more():
    groups = np.repeat(np.arange(20), 20)
    everybody = split("task", clients=20, groups=groups)
    assert [share.tolist() for share in everybody] == [np.nonzero(groups == g)[0].tolist() for g in range(20)]
    some = split("task", clients=5, groups=groups)
    check_disjoint(some, 5, 400)
    assert all(len(np.unique(groups[share])) == 1 and len(share) == 20 for share in some)


def test_hundreds_of_small_clients():
    targets = stream(0, "targets").integers(0, 10, 16_500)
    shares = split("dirichlet", clients=300, alpha=0.3, least=3, targets=targets)
    check_disjoint(shares, 300, 16_500)
    assert min(map(len, shares)) >= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clients": 401}, "clients.population: expected at most 400, one row for each client, got 401"),
        ({"least": 51}, r"client \d would hold 50 rows, expected at least 51; lower data.min_examples or clients.pop"),
        ({"kind": "dirichlet", "alpha": 0.01, "least": 30}, r"client \d would hold \d+ rows.*or raise data.alpha"),
        ({"kind": "task"}, "data.partition: expected iid or dirichlet, because the task has no natural clients"),
        ({"kind": "task", "groups": TARGETS, "clients": 11}, "expected at most the task's 10 natural clients, got 11"),
    ],
)
def test_a_split_that_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        split(**options)


@pytest.mark.parametrize("kind", ["dirichlet", "task"])
def test_nothing_is_said_on_the_way(kind, capfd):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        split(kind, groups=TARGETS % 8, least=25)
    assert caught == []
    assert capfd.readouterr() == ("", "")


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 60), data=st.data())
def test_the_public_slice_is_held_by_nobody(rows, data):
    kept = data.draw(st.one_of(st.none(), st.integers(1, rows)))
    public_examples = data.draw(st.integers(0, (kept or rows) - 1))
    private, public = split_public(rows, public_examples, kept, stream(0, "public"))
    assert len(public) == public_examples
    assert len(private) == (kept or rows) - public_examples
    check_disjoint([private, public], 2, rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 10, None), "data.public_examples: expected fewer than the 10 rows in use, got 10"),
        ((10, 5, 5), "data.public_examples: expected fewer than the 5 rows in use, got 5"),
        ((10, 0, 11), "data.max_train_examples: expected at most 10, the task's training rows, got 11"),
    ],
)
def test_a_slice_that_leaves_nothing_private_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        split_public(*arguments, stream(0))
