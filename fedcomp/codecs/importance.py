"""How much each value of an update matters, from what the encoder holds anyway."""

import numpy as np

from fedcomp.arrays import Arrays
from fedcomp.codecs.base import Codec
from fedcomp.codecs.chain import Chain


def importance_of(codec: Codec, model: Arrays, update: Arrays) -> Arrays | None:
    """Return the magnitude of every weight after the update, None if the codec does not ask.

    Times the magnitude of its change, that is the first-order Taylor estimate of what removing the weight does to the
    loss, with the change in place of the gradient (Molchanov et al. 2019).
    """
    stages = codec.stages if isinstance(codec, Chain) else ()
    if not any(stage.needs_importance for stage in stages):
        return None
    return {name: np.abs(np.add(model[name], change)) for name, change in update.items()}
