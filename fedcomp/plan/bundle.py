"""What a plan is, and what follows from it: models, shares of the data, accounts, epsilons."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedcomp import terms, training
from fedcomp.aggregation import PrivateSum, UniformMean, WidthMean
from fedcomp.arrays import Array, Arrays, digest
from fedcomp.codecs import Codec
from fedcomp.config import Config
from fedcomp.errors import ConfigError
from fedcomp.order import Order
from fedcomp.plan.narrow import Narrow
from fedcomp.privacy import Budget, DpEvent, PrivacySpent, epsilon, epsilon_schedule
from fedcomp.rng import derived_seed, stream
from fedcomp.shrink.zeros import Masks, keep_zeros, masked, masks_of
from fedcomp.tasks import Split, Task
from fedcomp.tasks.partition import partition, split_public

Rows = NDArray[np.int64]
_KEPT_SPLITS = 16


@dataclass(frozen=True)
class Plan:
    """One run, decided. ``config`` is resolved: under a private mode its ``noise_multiplier`` is filled in."""

    config: Config
    task: Task
    uplink: Codec
    downlink: Codec
    order: Order
    aggregator: UniformMean | PrivateSum | WidthMean
    narrows: tuple[Narrow | None, ...] = ()
    """For each entry of ``clients.widths`` the narrower model, None where it is the whole one; empty without any."""

    def digest(self) -> str:
        """Return what server and client compare: a SHA-256 over everything that can change a result, as hex."""
        return self.config.digest()

    def initial_model(self) -> dict[str, Array]:
        """Return version 0 of the model: it follows from the config, on every machine that draws the same weights."""
        return training.get_arrays(self.task.model(self.model_seed()))

    @cached_property
    def initial_digest(self) -> str:
        """The digest of version 0, by which two machines find out whether they draw the same weights."""
        return digest(self.initial_model())

    @property
    def private(self) -> bool:
        """Whether a privacy claim is made."""
        return self.config.privacy.mode != "none"

    @property
    def local_steps(self) -> int:
        """Steps of DP-SGD in a round, where examples are protected."""
        return self.config.training.local_steps or 1

    @property
    def budget(self) -> Budget | None:
        """What one account may cost at most, over all runs on its data; None if no target is set."""
        privacy = self.config.privacy
        if not self.private or privacy.target_epsilon is None:
            return None
        return Budget(privacy.target_epsilon, privacy.delta)

    @cached_property
    def round_event(self) -> DpEvent | None:
        """The privacy event of one round for the unit that is protected, or None without a claim."""
        return terms.round_event(self.config)

    @cached_property
    def split_rows(self) -> tuple[list[Rows], Rows]:
        """Rows of ``task.train()``: one array a client, and the public slice; all of them disjoint."""
        data, seed = self.config.data, self.config.seed
        train = self.task.train()
        rng = stream(seed, "public")
        private, public = split_public(len(train), data.public_examples, data.max_train_examples, rng)
        groups = self.task.groups()
        shares = partition(
            train.targets[private],
            None if groups is None else groups[private],
            self.config.clients.population,
            data.partition,
            data.alpha,
            data.min_examples,
            stream(seed, "partition"),
        )
        return [private[share] for share in shares], public

    def client_split(self, client: int) -> Split:
        """Return the rows that client number ``client`` holds, without what only a student eats."""
        return self._kept_splits(client)

    @cached_property
    def _kept_splits(self) -> Callable[[int], Split]:
        # a few silos train every round, and gathering their rows costs more than a step; many devices rarely come back
        return functools.lru_cache(maxsize=_KEPT_SPLITS)(self._gather)

    def _gather(self, client: int) -> Split:
        rows, train = self.split_rows[0][client], self.task.train()
        inputs = np.asarray(train.inputs[rows])
        return Split(inputs, train.targets[rows], inputs)

    def public_split(self) -> Split:
        """Return the public slice, which no client holds."""
        return self.task.train().take(self.split_rows[1])

    def model_seed(self) -> int:
        """Return the seed of the initial weights."""
        return derived_seed(self.config.seed, "model") % 2**31

    def width_of(self, client: int) -> int | None:
        """Return which entry of ``clients.widths`` is client number ``client``'s; None where all train the whole."""
        return client % len(self.narrows) if self.narrows else None

    def narrow_of(self, width: int | None) -> Narrow | None:
        """Return the narrower model of an entry of ``clients.widths``; None for the whole one.

        Raises:
            ConfigError: if there is no such entry.
        """
        if width is not None and not 0 <= width < len(self.narrows):
            raise ConfigError([f"clients.widths: expected one of {len(self.narrows)} entries, got number {width}"])
        return None if width is None else self.narrows[width]

    def client_module(self, client: int) -> nn.Module:
        """Return the module that client number ``client`` trains; its weights are to be set."""
        narrow = self.narrow_of(self.width_of(client))
        module = self.task.model(self.model_seed()) if narrow is None else narrow.module()
        return keep_zeros(module, self._client_masks(client))

    @cached_property
    def masks(self) -> Masks:
        """Where weights are left that a step of ``teacher.steps`` has thinned out; the others stay zero in all rounds.

        Decided once, by version 0, which follows from the teacher's file.
        """
        teacher = self.config.teacher
        return masks_of(self.initial_model()) if teacher is not None and teacher.student == "pruned" else {}

    def thinned(self, update: Arrays, client: int | None = None) -> dict[str, Array]:
        """Return an update of the whole model, or of what ``client`` trains, without what it adds to such weights."""
        return masked(update, self.masks if client is None else self._client_masks(client))

    def _client_masks(self, client: int) -> Masks:
        narrow = self.narrow_of(self.width_of(client))
        return self.masks if narrow is None else narrow.slices.take(self.masks)

    def check_shares(self) -> None:
        """Refuse a split in which a client whose examples are protected holds fewer rows than an expected batch.

        Raises:
            ConfigError: naming the client, what it holds, and what to change.
        """
        if not terms.by_example(self.config):
            return
        expected = self.config.privacy.sampling_probability * (self.config.privacy.nominal_examples or 0)
        sizes = [len(rows) for rows in self.split_rows[0]]
        client = int(np.argmin(sizes))
        if sizes[client] < expected:
            problem = (
                f"privacy.nominal_examples: client {client} holds {sizes[client]} rows, fewer than a batch of "
                f"sampling_probability * nominal_examples = {expected:g}; lower one of them or clients.population"
            )
            raise ConfigError([problem])

    def subject(self, client: str) -> str:
        """Return the account that ``client``'s releases are charged to: its rows, whatever the run."""
        return f"{self.task.dataset_id()}/{client}"

    @property
    def central(self) -> bool:
        """Whether the server adds the noise, and is charged for all clients together."""
        return self.config.privacy.mode == "central"

    def shared_subject(self) -> str:
        """Return the account of mode ``central``: one for all clients, or for all their examples, whatever the run."""
        return f"{self.task.dataset_id()}/every {self.config.privacy.unit}"

    def spent_after(self, rounds: int) -> PrivacySpent | None:
        """Return what ``rounds`` rounds of this run cost a client that took part in them; None without a claim."""
        if self.round_event is None:
            return None
        value = epsilon([(self.round_event, rounds)], self.config.privacy.delta)
        privacy = self.config.privacy
        return PrivacySpent(value, privacy.delta, unit=privacy.unit, mode=privacy.mode)

    def epsilon_by_round(self) -> tuple[float, ...]:
        """Return an upper bound on epsilon after each round of the run, in order; empty without a claim."""
        if self.round_event is None:
            return ()
        numbers = range(1, self.config.rounds + 1)
        spent = epsilon_schedule(self.round_event, numbers, self.config.privacy.delta)
        return tuple(value.epsilon for value in spent)
