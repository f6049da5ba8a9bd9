"""Who holds which rows: disjoint shares for clients, and the public slice that none of them gets."""

import contextlib
import io
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import ConfigError

Rows = NDArray[np.int64]


def split_public(
    num_rows: int, public_examples: int, max_train_examples: int | None, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Return ``(private, public)``: sorted, disjoint row numbers out of ``num_rows``.

    ``max_train_examples`` rows are drawn first (all if None), and ``public_examples`` of them are public.

    Raises:
        ConfigError: if nothing private would be left, or more rows are asked for than there are.
    """
    kept = num_rows if max_train_examples is None else max_train_examples
    if kept > num_rows:
        raise ConfigError(
            [f"data.max_train_examples: expected at most {num_rows}, the task's training rows, got {kept}"]
        )
    if public_examples >= kept:
        raise ConfigError([f"data.public_examples: expected fewer than the {kept} rows in use, got {public_examples}"])
    drawn = rng.permutation(num_rows)[:kept].astype(np.int64)
    return np.sort(drawn[public_examples:]), np.sort(drawn[:public_examples])


def partition(
    targets: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    num_clients: int,
    kind: Literal["iid", "dirichlet", "task"],
    alpha: float,
    min_examples: int,
    rng: np.random.Generator,
) -> list[Rows]:
    """Return for each client the sorted numbers of its rows in ``targets``; no row goes to two clients.

    ``iid`` deals rows evenly; ``dirichlet`` draws each class's shares from Dirichlet(``alpha``) (Hsu, Qi and Brown,
    2019), a few times over if a client would hold fewer than ``min_examples``; ``task`` gives each client one natural
    group, drawn at random where there are more groups than clients.

    Raises:
        ConfigError: if the rows cannot be split so, naming the client, what it would hold and what to change.
    """
    if num_clients > len(targets):
        raise ConfigError(
            [f"clients.population: expected at most {len(targets)}, one row for each client, got {num_clients}"]
        )
    if kind == "dirichlet" and targets.ndim > 1:
        raise ConfigError(
            ["data.partition: expected iid or task, since the task's targets are sequences, got dirichlet"]
        )
    seed = int(rng.integers(2**31))
    if kind == "iid":
        shares = _iid(len(targets), num_clients, seed)
    elif kind == "dirichlet":
        shares = _dirichlet(targets, num_clients, alpha, min_examples, seed)
    else:
        shares = _natural(groups, num_clients, seed)
    _check_sizes(shares, min_examples, kind)
    return shares


def _iid(num_rows: int, num_clients: int, seed: int) -> list[Rows]:
    # what flwr_datasets' IidPartitioner does after a shuffle, without the seconds that importing it takes
    order = np.random.default_rng(seed).permutation(num_rows).astype(np.int64)
    return [np.sort(share) for share in np.array_split(order, num_clients)]


def _dirichlet(targets: NDArray[np.int64], num_clients: int, alpha: float, min_examples: int, seed: int) -> list[Rows]:
    from flwr_datasets.partitioner import DirichletPartitioner  # takes seconds to import

    columns = {"target": targets, "row": np.arange(len(targets))}
    for least in (min_examples, 0):  # the second, when the first fails, is what the refusal is about
        partitioner = DirichletPartitioner(num_clients, "target", alpha, min_partition_size=least, seed=seed)
        with contextlib.suppress(ValueError):
            return _shares(partitioner, columns, num_clients)
    raise ConfigError([f"data.alpha: expected a value that can be drawn from, got {alpha}"])


def _natural(groups: NDArray[np.int64] | None, num_clients: int, seed: int) -> list[Rows]:
    from flwr_datasets.partitioner import NaturalIdPartitioner

    if groups is None:
        raise ConfigError(
            ["data.partition: expected iid or dirichlet, because the task has no natural clients, got task"]
        )
    present = np.unique(groups)
    if num_clients > len(present):
        raise ConfigError(
            [f"clients.population: expected at most the task's {len(present)} natural clients, got {num_clients}"]
        )
    drawn = np.sort(np.random.default_rng(seed).permutation(present)[:num_clients])
    rows = np.nonzero(np.isin(groups, drawn))[0]
    return _shares(NaturalIdPartitioner("group"), {"group": groups[rows], "row": rows}, num_clients)


def _shares(partitioner: Any, columns: dict[str, NDArray[Any]], num_clients: int) -> list[Rows]:
    from datasets import Dataset

    # Retries are announced as warnings and natural ids with a progress bar: neither is for our user.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        partitioner.dataset = Dataset.from_dict(columns)
        return [
            np.sort(np.asarray(partitioner.load_partition(client)["row"][:], dtype=np.int64))
            for client in range(num_clients)
        ]


def _check_sizes(shares: list[Rows], min_examples: int, kind: str) -> None:
    client = min(range(len(shares)), key=lambda number: len(shares[number]))
    if len(shares[client]) >= min_examples:
        return
    remedy = "lower data.min_examples or clients.population"
    if kind == "dirichlet":
        remedy += ", or raise data.alpha"
    held = f"client {client} would hold {len(shares[client])} rows, expected at least {min_examples}"
    raise ConfigError([f"data.min_examples: {held}; {remedy}"])
