"""What has been spent, with everything that an epsilon means nothing without."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PrivacySpent:
    """An upper bound on epsilon and what it is a bound on; nothing in the library prints the number alone.

    Attributes:
        epsilon: the bound; infinity if anything was released without noise.
        delta: the probability that the bound does not cover.
        unit: the unit of privacy, ``example`` or ``client``.
        mode: the privacy mode, which says who is trusted: ``none``, ``local``, ``central`` or ``distributed``.
        neighboring_relation: which two data sets are neighbors.
        accountant: ``PLD`` or ``RDP``.
    """

    epsilon: float
    delta: float
    unit: str
    mode: str
    neighboring_relation: str = "add_or_remove_one"
    accountant: str = "PLD"

    def sentence(self) -> str:
        """Return one sentence for a person."""
        if math.isinf(self.epsilon):
            return f"no differential privacy (mode {self.mode}): something was released without noise"
        return (
            f"epsilon = {self.epsilon:.3f} at delta = {self.delta:g} for each {self.unit} (mode {self.mode}, "
            f"neighboring relation {self.neighboring_relation}, accountant {self.accountant})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields for a report; an infinite epsilon becomes ``None``, because JSON has no infinity."""
        return {**asdict(self), "epsilon": None if math.isinf(self.epsilon) else self.epsilon}
