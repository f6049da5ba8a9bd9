"""What a codec may use besides the arrays that it encodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedcomp.arrays import Array, Arrays

Memory = Mapping[str, Array]
"""What an encoder keeps from one payload for the next, by ``index.stage.name``. Private data, like the update."""


@dataclass(frozen=True, eq=False)
class CodecContext:
    """Knowledge of the encoder, and of both ends. A codec that needs what is missing refuses by name.

    Names, shapes and dtypes of ``reference`` and ``importance`` are those of the arrays.
    """

    reference: Arrays | None = None
    """What both ends hold and everybody may know, such as the last released model."""
    importance: Arrays | None = None
    """How much each value matters, from the encoder's own knowledge: private unless it was noised."""
    memory: Memory = field(default_factory=dict)
    """What ``Codec.advance`` returned after the payload before."""
    max_bytes: int | None = None
    """What the sender's link carries; codecs that choose their rate stay under it."""


NO_CONTEXT = CodecContext()
"""Nothing is known besides the arrays."""


@dataclass(frozen=True, eq=False)
class Side:
    """The context as a stage sees it: floats alone, as one float32 vector in the order of the values.

    ``reference`` and ``importance`` are None if there is none, or if a stage before has dropped values.
    """

    reference: Array | None = None
    importance: Array | None = None
    memory: Memory = field(default_factory=dict)
    """What this very stage kept."""
    overhead: int = 0
    """Bytes of the payload besides the values, as it stands: for stages whose class says ``counts_bytes``."""
    max_bytes: int | None = None


NOTHING = Side()
