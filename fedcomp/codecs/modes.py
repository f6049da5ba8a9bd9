"""Which privacy modes admit a stage."""

from fedcomp.codecs.stage import Stage


def admitted_modes(stage: Stage) -> tuple[str, ...]:
    """Return the privacy modes in which a codec may contain this stage.

    * ``none``: every stage.
    * ``local``: the update is noised before it is encoded, so all that follows from it is free. What was not noised,
      importance, is not admitted. The memory of a stage (a residual, the rows of a low-rank factor) is: it is made of
      noised updates, as long as it never outlives the mechanism.
    * ``central``: the update is raw and the server trusted; it clips again what it decodes, so every stage will do.
    * ``distributed``: only the noisy sum is seen. Support, scale and length must not depend on the update, and a sum of
      what is sent must decode to the sum: public linear maps alone. Their seed must be the same for all clients, which
      is for the plan to see to.
    """
    modes = {
        "none": True,
        "local": not stage.needs_importance,
        "central": True,
        "distributed": stage.linear and not stage.data_dependent and not stage.private_side,
    }
    return tuple(mode for mode, admitted in modes.items() if admitted)
