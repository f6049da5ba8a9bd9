"""A plan is made of a config, or refused: every problem is found here, before round 1, and reported at once."""

import functools

from fedcomp import terms, training
from fedcomp.aggregation import ExampleWeightedMean, PrivateSum, UniformMean, WidthMean
from fedcomp.codecs import Codec, codec_from_config
from fedcomp.codecs.modes import stages_that_do_not_fit
from fedcomp.config import CodecSpec, Config, config_from_json
from fedcomp.errors import ConfigError, FedcompError
from fedcomp.order import Order, check_order, sound_order
from fedcomp.plan.bundle import Plan
from fedcomp.plan.narrow import Narrow, NarrowError, narrow
from fedcomp.tasks import Task, load_task
from fedcomp.training.descent import check_optimizer
from fedcomp.training.precision import check_precision


def make_plan(config: Config) -> Plan:
    """Return the plan of ``config``.

    Raises:
        ConfigError: with every reason why it cannot be run, before anything is trained.
    """
    problems: list[str] = [*_training_problems(config), *_client_problems(config), *terms.problems(config)]
    problems.extend(_fusion_problems(config, None))
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
    problems.extend(_fusion_problems(config, task))
    problems.extend(_start_problems(config, task))
    order, narrows = _order(config, uplink, problems), _narrows(config, task, problems)
    if problems:
        raise ConfigError(problems)
    resolved = _resolve(config)
    return Plan(resolved, task, uplink, downlink, order, _aggregator(resolved, narrows), narrows)


def _aggregator(config: Config, narrows: tuple[Narrow | None, ...]) -> UniformMean | PrivateSum | WidthMean:
    weighted = config.server.weighting == "examples"
    if config.privacy.mode == "central":
        mechanism, factor = terms.server_mechanism(config), terms.server_factor(config)
        return PrivateSum(mechanism, factor, clips=not terms.by_example(config))
    if any(narrows):
        return WidthMean(tuple(each.slices for each in narrows if each), weighted)
    return ExampleWeightedMean() if weighted else UniformMean()


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
    for check in (
        functools.partial(check_precision, settings.precision),
        functools.partial(check_optimizer, settings.optimizer, settings.momentum),
    ):
        try:
            check(by_example=terms.by_example(config))
        except ConfigError as error:
            problems.extend(error.problems)
    if config.privacy.mode != "none" and config.server.upload_seconds is not None:
        problems.append(
            f"server.upload_seconds: expected none under mode {config.privacy.mode} (how long a client trains tells "
            f"how many examples it holds; give clients.uplink_bytes), got {config.server.upload_seconds:g}"
        )
    if config.student.enabled and not config.data.public_examples:
        problems.append("data.public_examples: expected some for the student to be distilled on, got 0")
    return problems


def _fusion_problems(config: Config, task: Task | None) -> list[str]:
    """Return why ``[fusion]`` cannot be, whatever the task or, given one, with its model."""
    if config.fusion is None:
        return []
    from fedcomp.plan.fusion import answer_problems, setting_problems  # all that distils, which few runs need

    return setting_problems(config) if task is None else answer_problems(config, task)


def _start_problems(config: Config, task: Task) -> list[str]:
    if not config.student.enabled or config.student.start != "teacher":
        return []
    from fedcomp.shrink.base import ShrinkError  # all that makes models smaller, which few runs need
    from fedcomp.shrink.distillation.start import started_from

    try:
        started_from(task.student(0), task.model(0))
    except ShrinkError as error:
        return [f"student.start: expected 'scratch', since {error}; got 'teacher'"]
    return []


def _client_problems(config: Config) -> list[str]:
    clients = config.clients
    if clients.sampling == "all" and clients.cohort not in (None, clients.population):
        return [f"clients.cohort: expected nothing, or sampling = 'fixed' or 'bernoulli', got {clients.cohort}"]
    if clients.sampling != "all" and clients.cohort is None:
        return [f"clients.cohort: expected a number of clients with sampling = {clients.sampling!r}, got none"]
    if clients.cohort is not None and clients.cohort > clients.population:
        return [f"clients.cohort: expected at most the population of {clients.population}, got {clients.cohort}"]
    if clients.widths and config.privacy.mode not in ("none", "local"):
        why = "its noised sum has one public divisor, and a value that fewer clients have needs another"
        return [f"clients.widths: expected none under mode {config.privacy.mode} ({why}), got {clients.widths}"]
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
        if config.teacher is not None:
            from fedcomp.plan.teacher import taught_task  # all that makes models smaller, which few runs need

            task = taught_task(task, config, config.teacher)
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


def _narrows(config: Config, task: Task, problems: list[str]) -> tuple[Narrow | None, ...]:
    """Return the narrower model of each entry of ``clients.widths``, made once for each width."""
    if not config.clients.widths:
        return ()
    module, inputs = task.model(0), task.train().inputs
    found: dict[float, Narrow | None] = {1.0: None}
    for width in config.clients.widths:
        if width not in found:
            try:
                found[width] = narrow(module, width, inputs.shape[1:], inputs.dtype)
            except NarrowError as error:
                problems.append(f"clients.widths: the task's model cannot be made {width:g} as wide: {error}")
                return ()
    return tuple(found[width] for width in config.clients.widths)


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
    if config.teacher is not None:
        from fedcomp.plan.teacher import teacher_digest

        stated = {"sha256": teacher_digest(config.teacher)}
        config = config.model_copy(update={"teacher": config.teacher.model_copy(update=stated)})
    noise = {"noise_multiplier": terms.noise_multiplier(config)}
    return config.model_copy(update={"privacy": config.privacy.model_copy(update=noise)})
