"""Which privacy modes admit a stage."""

from fedcomp.codecs.base import Codec
from fedcomp.codecs.chain import Chain
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


def stages_that_do_not_fit(codec: Codec, mode: str, *, downlink: bool = False) -> tuple[str, ...]:
    """Return why stages of a codec cannot be in a run of a mode, a sentence a stage; none if all can.

    The downlink codes a released difference: every mode admits all of it, but there is nothing else to refer to.
    """
    problems = []
    for stage in codec.stages if isinstance(codec, Chain) else ():
        if downlink and stage.needs_importance:
            problems.append(f"{stage.id}: expected a stage that needs no importance, which nobody gives the downlink")
        elif downlink and (stage.needs_reference or stage.chooses_by_reference):
            problems.append(f"{stage.id}: expected a stage that needs no reference, the downlink codes a difference")
        elif not downlink and mode not in admitted_modes(stage):
            problems.append(f"{stage.id}: expected a stage that mode {mode} admits (`fedcomp codecs` says which)")
    return tuple(problems)
