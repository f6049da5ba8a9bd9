"""Every stage by its id, and codecs from configs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedcomp.codecs.base import Codec
from fedcomp.codecs.chain import Chain
from fedcomp.codecs.modes import admitted_modes
from fedcomp.codecs.options import Option, options_of
from fedcomp.codecs.stage import Stage
from fedcomp.codecs.stages.auto import Auto
from fedcomp.codecs.stages.bfloat16 import BFloat16
from fedcomp.codecs.stages.block_uniform import BlockUniform
from fedcomp.codecs.stages.delta import Delta
from fedcomp.codecs.stages.dither import Dither
from fedcomp.codecs.stages.feedback import Feedback
from fedcomp.codecs.stages.fixed_point import FixedPoint
from fedcomp.codecs.stages.float8 import Float8
from fedcomp.codecs.stages.float16 import Float16
from fedcomp.codecs.stages.importance_topk import ImportanceTopK
from fedcomp.codecs.stages.layer_topk import LayerTopK
from fedcomp.codecs.stages.low_rank import LowRank
from fedcomp.codecs.stages.nf4 import NF4
from fedcomp.codecs.stages.random_mask import RandomMask
from fedcomp.codecs.stages.rans import Rans
from fedcomp.codecs.stages.rate import Rate
from fedcomp.codecs.stages.raw import Raw
from fedcomp.codecs.stages.released_mask import ReleasedMask
from fedcomp.codecs.stages.rotate import Rotate
from fedcomp.codecs.stages.sign import Sign
from fedcomp.codecs.stages.sketch import Sketch
from fedcomp.codecs.stages.step import Step
from fedcomp.codecs.stages.structured import Structured
from fedcomp.codecs.stages.ternary import Ternary
from fedcomp.codecs.stages.topk import TopK
from fedcomp.codecs.stages.uniform import Uniform
from fedcomp.codecs.stages.zstd import Zstd
from fedcomp.errors import ConfigError

_Stages = tuple[type[Stage], ...]
_WHOLE: _Stages = (Raw, Delta, Feedback)
_FEWER_VALUES: _Stages = (TopK, LayerTopK, ImportanceTopK, Structured, RandomMask, ReleasedMask, LowRank, Sketch)
_FEWER_BITS: _Stages = (
    Uniform,
    BlockUniform,
    NF4,
    Step,
    Dither,
    Rotate,
    Sign,
    Ternary,
    FixedPoint,
    Float16,
    BFloat16,
    Float8,
)
_CODERS: _Stages = (Rate, Auto, Rans, Zstd)

STAGES: dict[str, type[Stage]] = {stage.id: stage for stage in (*_WHOLE, *_FEWER_VALUES, *_FEWER_BITS, *_CODERS)}


@dataclass(frozen=True)
class StageInfo:
    """What there is to know about a stage before using it; flags and modes hold for its examples."""

    id: str
    summary: str
    options: tuple[Option, ...]
    biased: bool
    data_dependent: bool
    bound: str
    """The bound on the absolute error of a value, in words."""
    modes: tuple[str, ...]
    """The privacy modes that admit it."""


def codec_from_config(config: Sequence[Mapping[str, Any]]) -> Codec:
    """Return the codec that a list of stages describes, e.g. ``[{"id": "topk", "density": 0.05}, {"id": "rans"}]``.

    Raises:
        ConfigError: with every problem at once, each as ``[index].option: expected ..., got ...``.
    """
    if isinstance(config, str | bytes | Mapping) or not isinstance(config, Sequence):
        raise ConfigError([f"expected a list of stages, got {config!r}"], source="codec")
    problems: list[str] = []
    stages = [_stage(index, item, problems) for index, item in enumerate(config)]
    if problems:
        raise ConfigError(problems, source="codec")
    try:
        return Chain(tuple(stage for stage in stages if stage is not None))
    except ValueError as error:
        raise ConfigError([str(error)], source="codec") from None


def describe_codecs() -> tuple[StageInfo, ...]:
    """Return every stage with its options, in the order of the registry."""
    return tuple(_info(stage) for stage in STAGES.values())


def _info(stage: type[Stage]) -> StageInfo:
    options = options_of(stage)
    example = stage(**{option.name: option.example for option in options})
    summary = (stage.__doc__ or "").partition("\n")[0]
    flags = (example.biased, example.data_dependent)
    return StageInfo(stage.id, summary, options, *flags, stage.bound, admitted_modes(example))


def _stage(index: int, item: Any, problems: list[str]) -> Stage | None:
    if not isinstance(item, Mapping) or not isinstance(item.get("id"), str):
        problems.append(f"[{index}]: expected an object with an id, got {item!r}")
        return None
    if item["id"] not in STAGES:
        problems.append(f"[{index}].id: expected one of {', '.join(STAGES)}, got {item['id']!r}")
        return None
    stage = STAGES[item["id"]]
    options = {option.name: option for option in options_of(stage)}
    given = {key: value for key, value in item.items() if key != "id"}
    before = len(problems)
    for key, value in given.items():
        if key not in options:
            known = f"one of {', '.join(options)}" if options else f"no option beside {stage.id!r}"
            problems.append(f"[{index}].{key}: unknown option, expected {known}, got {value!r}")
    for name, option in options.items():
        try:
            option.check(given.get(name, option.default))
        except ValueError as error:
            got = "" if name in given else " (it must be given)"
            problems.append(f"[{index}].{error}{got}")
    if len(problems) > before:
        return None
    try:
        return stage(**given)
    except ValueError as error:  # options that are right alone, and not together
        problems.append(f"[{index}].{error}")
        return None
