"""Privacy figures as people read them: an upper bound is rounded up and a lower bound down, so no rounding flatters."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

NO_PRIVACY = "none: no privacy is claimed"


def epsilon(value: float | None, *, lower_bound: bool = False) -> str:
    """Return an epsilon to two decimals: up for what was spent, down for a ``lower_bound``.

    ``None`` and infinity are no guarantee, and are said so; never 0.

    >>> epsilon(2.981), epsilon(0.119, lower_bound=True), epsilon(None)
    ('2.99', '0.11', 'none: no privacy is claimed')
    """
    if value is None or math.isnan(value):
        return "none found" if lower_bound else NO_PRIVACY
    if math.isinf(value):
        return "infinite" if lower_bound else f"infinite ({NO_PRIVACY})"
    return _rounded(value, "0.01", ROUND_FLOOR if lower_bound else ROUND_CEILING)


def delta(value: float | None) -> str:
    """Return a delta.

    >>> delta(1e-5), delta(0.0), delta(None)
    ('1e-5', '0', 'not stated')
    """
    return "not stated" if value is None else f"{value:g}".replace("e-0", "e-")


def percent(share: float) -> str:
    """Return a share that nothing may exceed as a percentage, rounded up.

    >>> percent(0.19708)
    '19.8 %'
    """
    return f"{_rounded(100 * share, '0.1', ROUND_CEILING)} %"


def _rounded(value: float, step: str, way: str) -> str:
    # From the shortest decimal of the float, so that 2.98 stays 2.98 and does not become 2.99.
    return str(Decimal(repr(float(value))).quantize(Decimal(step), way))
