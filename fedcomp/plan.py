"""The plan of a run: which task, codecs, order, noise and aggregator, checked to fit before round 1.

Server and clients build equal plans from one config and compare digests. Every problem is found here and reported at
once; after a plan exists, nothing about the order of a round is decided anywhere else.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcomp import terms, training
from fedcomp.aggregation import ExampleWeightedMean, PrivateSum, UniformMean
from fedcomp.arrays import Array, digest
from fedcomp.codecs import Codec, codec_from_config
from fedcomp.codecs.modes import stages_that_do_not_fit
from fedcomp.config import CodecSpec, Config, config_from_json
from fedcomp.errors import ConfigError, FedcompError
from fedcomp.order import Order, check_order, sound_order
from fedcomp.privacy import Budget, DpEvent, PrivacySpent, epsilon, epsilon_schedule
from fedcomp.rng import derived_seed, stream
from fedcomp.tasks import Split, Task, load_task
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
    aggregator: UniformMean | PrivateSum

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


def make_plan(config: Config) -> Plan:
    """Return the plan of ``config``.

    Raises:
        ConfigError: with every reason why it cannot be run, before anything is trained.
    """
    problems: list[str] = [*_training_problems(config), *_client_problems(config), *terms.problems(config)]
    uplink, downlink = _codec(config.uplink, "uplink", problems), _codec(config.downlink, "downlink", problems)
    task = _task(config, problems)
    if problems or uplink is None or downlink is None or task is None:
        raise ConfigError(problems)
    mode = config.privacy.mode
    problems.extend(terms.noise_problems(config))
    problems.extend(f"uplink: {problem}" for problem in stages_that_do_not_fit(uplink, mode))
    problems.extend(f"downlink: {problem}" for problem in stages_that_do_not_fit(downlink, mode, downlink=True))
    if mode == "central" and config.privacy.unit == "example" and not uplink.lossless:
        problems.append(
            "uplink: expected no stage under mode central with unit example (a lossy sum of clipped gradients may move "
            "by more than the bound, and the server cannot clip examples again), got some"
        )
    order = _order(config, uplink, problems)
    if problems:
        raise ConfigError(problems)
    resolved = _resolve(config)
    return Plan(resolved, task, uplink, downlink, order, _aggregator(resolved))


def _aggregator(config: Config) -> UniformMean | PrivateSum:
    if config.privacy.mode == "central":
        mechanism, factor = terms.server_mechanism(config), terms.server_factor(config)
        return PrivateSum(mechanism, factor, clips=not terms.by_example(config))
    return ExampleWeightedMean() if config.server.weighting == "examples" else UniformMean()


@functools.lru_cache(maxsize=4)
def plan_from_json(config_json: str) -> Plan:
    """Return the plan of a config that came as JSON; kept, because a client gets the same one every round.

    Raises:
        ConfigError: as ``make_plan``; also for a text that is no JSON.
    """
    return make_plan(config_from_json(config_json))


def _training_problems(config: Config) -> list[str]:
    settings, problems = config.training, []
    if settings.local_steps is not None and settings.local_epochs is not None:
        problems.append("training.local_epochs: expected either local_steps or local_epochs, got both")
    if config.privacy.mode != "none" and config.server.upload_seconds is not None:
        problems.append(
            f"server.upload_seconds: expected none under mode {config.privacy.mode} (how long a client trains tells "
            f"how many examples it holds; give clients.uplink_bytes), got {config.server.upload_seconds:g}"
        )
    if config.student.enabled and not config.data.public_examples:
        problems.append("data.public_examples: expected some for the student to be distilled on, got 0")
    return problems


def _client_problems(config: Config) -> list[str]:
    clients = config.clients
    if clients.sampling == "all" and clients.cohort not in (None, clients.population):
        return [f"clients.cohort: expected nothing, or sampling = 'fixed' or 'bernoulli', got {clients.cohort}"]
    if clients.sampling != "all" and clients.cohort is None:
        return [f"clients.cohort: expected a number of clients with sampling = {clients.sampling!r}, got none"]
    if clients.cohort is not None and clients.cohort > clients.population:
        return [f"clients.cohort: expected at most the population of {clients.population}, got {clients.cohort}"]
    return []


def _codec(spec: list[CodecSpec], key: str, problems: list[str]) -> Codec | None:
    try:
        return codec_from_config(spec)
    except ConfigError as error:
        problems.extend(f"{key}{problem}" for problem in error.problems)
        return None


def _task(config: Config, problems: list[str]) -> Task | None:
    try:
        task = _loaded(config.task)
        if terms.by_example(config):
            training.check_private_model(task.model(0))
    except ConfigError as error:
        problems.extend(error.problems)
        return None
    except FedcompError as error:
        if error.exit_code != ConfigError.exit_code:
            raise
        problems.append(f"task: {error}")
        return None
    return task


@functools.lru_cache(maxsize=4)
def _loaded(name: str) -> Task:
    # plans of one process share a task, and with it the rows that it holds in memory
    return load_task(name)


def _order(config: Config, uplink: Codec, problems: list[str]) -> Order:
    order = sound_order(
        config.privacy.mode,
        sealed=config.envelope.enabled,
        data_dependent_codec=uplink.data_dependent,
        weighted=config.server.weighting == "examples",
    )
    problems.extend(
        f"privacy.mode {config.privacy.mode}: {reason}" for reason in check_order(config.privacy.mode, order)
    )
    return order


def _resolve(config: Config) -> Config:
    """Write out what follows from the config, so that server and clients need not compute it alike."""
    steps = config.training
    if steps.local_steps is None and steps.local_epochs is None:
        passes = {"local_steps": 1} if terms.by_example(config) else {"local_epochs": 1}
        config = config.model_copy(update={"training": steps.model_copy(update=passes)})
    noise = {"noise_multiplier": terms.noise_multiplier(config)}
    return config.model_copy(update={"privacy": config.privacy.model_copy(update=noise)})
