"""The codec that chooses: what a link carries, and what really comes of each way to use it, decide."""

import logging
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.candidates import CANDIDATES, Trial, encode_candidate, try_candidates
from fedcomp.codecs.options import choice, integer, number
from fedcomp.codecs.public import public_seed
from fedcomp.codecs.reference import require_reference
from fedcomp.codecs.stage import Form, Packet, Spec, Stage

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Auto(Stage):
    """Chooses codec and rate for the link, by what each candidate makes of the values; ends a chain.

    The link carries ``side.max_bytes`` a payload (the whole of it), and ``bits`` a value where nobody said. Every
    candidate codes the values within that; the one whose *mean over cohort clients* is predicted to have the least
    error is sent, and its number with it: an error that all clients share stays in a mean, one that is drawn anew
    averages out. ``decide_from`` ``reference`` tries the candidates on what both ends hold instead of on the values:
    for raw updates under a private mode, whose shape must not steer what is seen from outside.
    """

    bits: float = number(1.0, 0, 32, open_low=True, default=1.0)
    cohort: int = integer(10, 1, 10**6, default=10)
    decide_from: str = choice("update", "reference")
    id: ClassVar[str] = "auto"
    counts_bytes: ClassVar[bool] = True
    bound: ClassVar[str] = "none: the link decides"
    data_dependent = True
    biased = True

    @property
    def chooses_by_reference(self) -> bool:  # type: ignore[override]
        """Whether the choice is made from what both ends hold."""
        return self.decide_from == "reference"

    def form(self, form: Form) -> Form:
        """Return the form with bytes as values."""
        form.require_floats()
        return Form(Spec(np.dtype(np.uint8), None), form.streams)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Try every candidate, and send the best."""
        values, seed = packet.values, public_seed(rng)
        budget = self._budget(packet)
        shown = require_reference(packet) if self.chooses_by_reference else values
        trials = try_candidates(shown, packet.shapes, budget, self.cohort, seed)
        best = min(trials, key=lambda trial: trial.mean_error)
        _log(trials, best, budget, values.size)
        number, coded = best.candidate, best.payload
        if self.chooses_by_reference:
            number, coded = encode_candidate(number, values, packet.shapes, budget, seed)
        return Packet(np.frombuffer(bytes([number]) + coded, dtype=np.uint8), packet.streams)

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Decode by the candidate that the first byte names."""
        size = form.require_floats()
        if not packet.values.size or packet.values[0] >= len(CANDIDATES):
            raise PayloadError(f"auto: expected the number of a candidate below {len(CANDIDATES)}, got another or none")
        values = CANDIDATES[packet.values[0]].decode(packet.values[1:].data, size, form.shapes)
        return Packet(values, packet.streams)

    def max_error(self, values: Array) -> float | None:
        """Return None."""
        return None

    def _budget(self, packet: Packet) -> int:
        by_rate = int(packet.values.size * self.bits / 8)
        limit = packet.side.max_bytes
        budget = by_rate if limit is None else limit - packet.side.overhead - 1
        return max(budget, 0)


def _log(trials: list[Trial], best: Trial, budget: int, size: int) -> None:
    others = "; ".join(
        f"{CANDIDATES[trial.candidate].name}: {len(trial.payload)} bytes, nmse {trial.error:.3g}, "
        f"predicted in the mean {trial.mean_error:.3g}"
        for trial in trials
    )
    name = CANDIDATES[best.candidate].name
    _LOG.info("auto: %s for %d values within %d bytes, the least predicted error of %s", name, size, budget, others)
