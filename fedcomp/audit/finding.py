"""What an audit says: a claim, what was measured, and whether that bears it out."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Layer = Literal["L0 replay", "L1 components", "L2 bounds", "L3 attacks", "L4 ledger", "L5 auditor"]
Verdict = Literal["holds", "does not hold", "assumption not met", "not covered"]


@dataclass(frozen=True)
class Finding:
    """One line of an audit.

    Attributes:
        layer: which kind of evidence it is.
        claim: what has to be true, as a sentence.
        verdict: whether it is. ``assumption not met``: the claim rests on something that the run does not keep.
            ``not covered``: nothing here can tell, and whoever reads the audit must know that.
        measured: what was found, with its figures.
        how: the method, what it assumes, and how often it is wrong.
    """

    layer: Layer
    claim: str
    verdict: Verdict
    measured: str
    how: str

    @property
    def holds(self) -> bool:
        """Whether the claim is borne out; anything else fails the audit."""
        return self.verdict == "holds"

    def sentence(self) -> str:
        """Return one sentence for a person."""
        return f"{self.layer}: {self.claim}: {self.verdict} ({self.measured})"

    def to_json(self) -> dict[str, Any]:
        """Return the fields, and ``holds``."""
        return {**asdict(self), "holds": self.holds}


def judged(layer: Layer, claim: str, holds: bool, measured: str, how: str) -> Finding:
    """Return a finding that either holds or does not."""
    return Finding(layer, claim, "holds" if holds else "does not hold", measured, how)
