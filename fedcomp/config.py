"""The typed config of a run, read from TOML.

Every field here is public: it goes to the server and to every client, and its digest is what both compare. Nothing in
it is derived from private data.
"""

import copy
import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedcomp.errors import ConfigError

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
CodecSpec = dict[str, Any]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(_Section):
    """Which rows the clients hold, and how they are split."""

    public_examples: Count = 0
    """Training rows that no client gets: what the student is distilled on."""
    max_train_examples: Positive | None = None
    """Use only this many training rows (before the public slice is taken off), drawn by the seed."""
    partition: Literal["iid", "dirichlet", "task"] = "iid"
    """``task`` asks the task for its natural clients."""
    alpha: PositiveFloat = 0.3
    """Concentration of the Dirichlet partition; smaller is more skewed."""
    min_examples: Positive = 1
    """No client may hold fewer; a split that cannot keep this is refused by name."""


class ClientsConfig(_Section):
    """The registered population and the part of it that trains in a round."""

    population: Positive = 10
    cohort: Positive | None = None
    """Clients a round (expected number under ``bernoulli``); all of them if left out."""
    sampling: Literal["all", "fixed", "bernoulli"] = "all"
    uplink_bytes: list[Positive] = Field(default_factory=list)
    """What links carry in a round, for codecs that choose their rate: client ``i`` has entry ``i`` of the list, which
    starts over at its end. A device may say less (``uplink-bytes`` in its node config). Nothing is limited if empty."""
    widths: list[Fraction] = Field(default_factory=list)
    """Share of each layer's channels that a client trains and sends: client ``i`` has entry ``i`` of the list, which
    starts over at its end. All train the whole model if empty."""


class TrainingConfig(_Section):
    """What a client does in a round. Under ``local`` the batch is Poisson and ``batch_size`` is not used."""

    local_steps: Positive | None = None
    local_epochs: Positive | None = None
    batch_size: Positive = 32
    learning_rate: PositiveFloat = 0.1
    momentum: Momentum = 0.0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """What a step does with a gradient; ``adamw`` is for Transformers, and starts without memory in every round."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Numbers of a step's products; ``bfloat16`` gains on processors that have it. DP-SGD is always in float32."""


class ServerConfig(_Section):
    """What the server does with the mean update: ``global += learning_rate * velocity``."""

    learning_rate: PositiveFloat = 1.0
    momentum: Momentum = 0.0
    weighting: Literal["uniform", "examples"] = "uniform"
    round_timeout: PositiveFloat = 600.0
    """Seconds after which a round goes on without the clients that did not answer."""
    release: Literal["shared", "each"] = "shared"
    """What the downlink codec codes: ``shared``, one difference a round, of which clients that were away get several;
    ``each``, for every client the difference to what it holds, which the server keeps: fewer bytes where clients are
    sampled seldom, and errors that differ from client to client, for a model a client on the server's disk."""
    upload_seconds: PositiveFloat | None = None
    """How long an upload may take: the server then measures links, and tells codecs that choose their rate."""


class PrivacyConfig(_Section):
    """The privacy mode and its public constants.

    ``sampling_probability`` and ``nominal_examples`` are constants that everybody knows; they never follow from how
    many rows a client really holds, because that would release the number.
    """

    mode: Literal["none", "local", "central", "distributed"] = "none"
    target_epsilon: PositiveFloat | None = None
    noise_multiplier: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Standard deviation of the noise over ``max_grad_norm`` or, for clients, ``clipping_norm``; calibrated from
    ``target_epsilon`` if left out."""
    unit: Literal["example", "client"] = "example"
    """What one bound and one epsilon are about. Mode ``local`` protects examples; mode ``central`` either."""
    clipping_norm: PositiveFloat = 1.0
    """Bound on the L2 norm of one client's update (mode ``central``, unit ``client``); the first one, if it moves."""
    clipping_headroom: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    """A client clips to this many times the bound before it encodes; the server's clip, which counts, is at the bound.
    More than 1 fills up what a lossy codec takes away from the update's length."""
    clipping_quantile: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of clients whose norm is to be within the bound, which then moves each round; fixed if left out."""
    clipping_rate: PositiveFloat = 0.2
    """How fast the logarithm of the bound moves."""
    clipping_bit_noise: PositiveFloat | None = None
    """Noise on the number of clients within the bound, in clients; a twentieth of the expected cohort if left out."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    max_grad_norm: PositiveFloat = 1.0
    """Bound on the L2 norm of one example's gradient (unit ``example``)."""
    sampling_probability: Fraction = 0.1
    """Chance of one example to be in one step's Poisson batch."""
    nominal_examples: Positive | None = None
    """Public number of examples that a client is taken to hold; the sum of gradients is divided by
    ``sampling_probability * nominal_examples``."""
    tuning: Literal["not stated", "none", "other data", "same data"] = "not stated"
    """What hyper-parameters were chosen by, for the statement: nothing (published values, taken as they are), other
    data, or runs on the very data that is protected, whose cost no epsilon here includes."""


class EnvelopeConfig(_Section):
    """Encryption of every payload between one client and the server."""

    enabled: bool = True


class StudentConfig(_Section):
    """The small model that is distilled from the global one on the public slice."""

    enabled: bool = True
    start: Literal["scratch", "teacher"] = "scratch"
    """``teacher``: arrays that the global model has too, of the same name and shape, start from its values."""
    epochs: Positive = 30
    batch_size: Positive = 128
    learning_rate: PositiveFloat = 2e-3
    temperature: PositiveFloat = 2.0
    copies: Positive = 4
    """Versions of each public image: itself, and some shifted and mirrored; 1 where that changes the class."""
    hard_label_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the loss that comes from the public labels; the rest from the teacher."""


class TeacherConfig(_Section):
    """A model that is trained already, and that the clients' small one learns from while they train it."""

    model: Annotated[str, Field(pattern=r"\.safetensors$")]
    """The file of a finished run's global model. Every client has it too, at this path or in its cache by digest."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Digest of that file; filled in when the server makes its plan."""
    source: Literal["run", "public"] = "run"
    """What the model was made from: a run of fedcomp, whose mode its file states, or public data alone."""
    student: Literal["pruned", "task"] = "pruned"
    """What the clients train: the model itself after ``steps``, or the task's own student, from the start."""
    steps: list[CodecSpec] = Field(default_factory=list)
    """Steps that make the model smaller, in order, once before round 1; none may read rows."""
    temperature: PositiveFloat = 4.0
    """What logits of both are divided by before the softmax."""
    weight: Fraction = 0.7
    """Share of the loss that comes from the teacher; the rest from the task."""


class FusionConfig(_Section):
    """After the mean of a round, the global model learns on public rows what the round's client models answer."""

    every: Positive = 1
    """In every so many rounds; in the others the mean stays as it is."""
    steps: Positive = 100
    """Steps of Adam, with a rate that falls to zero along a cosine."""
    batch_size: Positive = 128
    learning_rate: PositiveFloat = 1e-3
    temperature: PositiveFloat = 1.0
    """What logits of both are divided by before the softmax."""


class AuditConfig(_Section):
    """Membership inference on the released models."""

    enabled: bool = True
    examples: Positive = 5000
    """At most so many members, and as many non-members, are scored."""


class EngineConfig(_Section):
    """How a simulation is run; changes speed, never results."""

    workers: Count = 0
    """Worker processes; 0 trains in the process of the server."""


class Config(_Section):
    """One run, whole."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "run"
    task: str = "digits"
    """A registered task, or ``module:function`` that returns one."""
    seed: Count = 0
    rounds: Positive = 10
    evaluate_every: Positive = 1
    uplink: list[CodecSpec] = Field(default_factory=list)
    """Stages of the codec of updates, in order; an empty list sends fp32."""
    downlink: list[CodecSpec] = Field(default_factory=list)
    """Stages of the codec of model deltas; an empty list sends fp32."""
    data: DataConfig = DataConfig()
    clients: ClientsConfig = ClientsConfig()
    training: TrainingConfig = TrainingConfig()
    server: ServerConfig = ServerConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    envelope: EnvelopeConfig = EnvelopeConfig()
    teacher: TeacherConfig | None = None
    """Recovery training, if there is such a section: clients train a small model with a dense one as its teacher."""
    fusion: FusionConfig | None = None
    """Ensemble distillation on the server, if there is such a section: it learns from client models on public rows."""
    student: StudentConfig = StudentConfig()
    audit: AuditConfig = AuditConfig()
    engine: EngineConfig = EngineConfig()

    def to_json(self) -> str:
        """Return the config as canonical JSON: sorted keys, no spaces, every default written out."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """Return a SHA-256 over all that can change a result, as hex.

        ``name`` and ``engine`` are left out: two runs that differ in them alone compute the same thing.
        """
        content = self.model_dump(mode="json", exclude={"name", "engine"})
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_config(path: str | Path, overrides: Mapping[str, object] | None = None) -> Config:
    """Read a TOML file and return the config in it.

    Args:
        path: the file.
        overrides: dotted keys and values that replace or add to the file's, e.g. ``{"privacy.target_epsilon": 8.0}``.

    Raises:
        ConfigError: with every problem at once, each with its key, what was expected and what came.
    """
    path = Path(path)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"cannot read the file: {error.strerror}"], source=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"not a TOML file: {error}"], source=str(path)) from error
    problems = [problem for key, value in (overrides or {}).items() for problem in _override(tree, key, value)]
    return _validate(tree, str(path), problems)


def config_from_dict(tree: Mapping[str, Any], source: str = "config") -> Config:
    """Return the config that a nested dict describes; raises ``ConfigError`` as ``load_config`` does."""
    return _validate(dict(tree) if isinstance(tree, Mapping) else tree, source, [])


def config_from_json(text: str) -> Config:
    """Return the config in a JSON text from anywhere; raises ``ConfigError`` as ``load_config`` does."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"not JSON: {error}"]) from error
    return config_from_dict(tree)


def _validate(tree: Any, source: str, problems: list[str]) -> Config:
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        problems = [*problems, *(_problem(item) for item in error.errors())]
    if problems:
        raise ConfigError(problems, source=source)
    return config


def _override(tree: dict[str, Any], key: str, value: object) -> list[str]:
    """Put the value at the dotted key; return why that cannot be done, if so."""
    *parents, last = key.split(".")
    for part in parents:
        child = tree.setdefault(part, {})
        if not isinstance(child, dict):
            return [f"{key}: expected a section named {part!r}, got {child!r}"]
        tree = child
    # a copy, because a later override may go into it
    tree[last] = copy.deepcopy(value)
    return []


def _problem(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "config"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key, got {item['input']!r}"
    if item["type"] == "string_pattern_mismatch":
        return f"{key}: expected text that matches {item['ctx']['pattern']}, got {item['input']!r}"
    if item["type"] in ("model_type", "dict_type"):
        return f"{key}: expected a section or table, got {item['input']!r}"
    expected = item["msg"].removeprefix("Input should be ").replace("Input should ", "")
    return f"{key}: expected {expected}, got {item['input']!r}"
