"""Figures as people read them: bytes, shares, time, ratios."""

import math

_BYTES = ("B", "KB", "MB", "GB", "TB", "PB")


def size(count: float) -> str:
    """Return bytes in decimal units.

    >>> size(999), size(12_345), size(3_456_789_012)
    ('999 B', '12.3 KB', '3.46 GB')
    """
    unit = 0
    # 999.5 and not 1000: three figures are shown, and 999.7 would be shown as 1000.
    while abs(count) >= 999.5 and unit < len(_BYTES) - 1:
        count, unit = count / 1000, unit + 1
    if unit == 0:
        return f"{count:.0f} B"
    return f"{count:.{_decimals(count)}f} {_BYTES[unit]}"


def percent(share: float, decimals: int = 1) -> str:
    """Return a share in [0, 1] as a percentage.

    >>> percent(0.8783), percent(0.0012, 2)
    ('87.8 %', '0.12 %')
    """
    return f"{100 * share:.{decimals}f} %" if math.isfinite(share) else "not finite"


def duration(seconds: float) -> str:
    """Return wall-clock seconds.

    >>> duration(0.25), duration(83.4), duration(7384)
    ('0.25 s', '1 min 23 s', '2 h 03 min')
    """
    if seconds < 59.95:
        return f"{seconds:.{2 if seconds < 1 else 1}f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def time(milliseconds: float) -> str:
    """Return a short time.

    >>> time(0.0421), time(1.5), time(230.0)
    ('42.1 µs', '1.50 ms', '230 ms')
    """
    return f"{1e3 * milliseconds:.3g} µs" if milliseconds < 0.9995 else f"{milliseconds:#.3g} ms".replace(". ", " ")


def times(ratio: float) -> str:
    """Return how many times fewer (or more) bytes were sent than in fp32.

    >>> times(41.27), times(0.5)
    ('41.3 times fewer', '2.0 times more')
    """
    if not math.isfinite(ratio) or ratio <= 0:
        return "not defined"
    ratio, word = (ratio, "fewer") if ratio >= 1 else (1 / ratio, "more")
    return f"{ratio:,.{1 if ratio < 99.95 else 0}f} times {word}"


def bits(value: float) -> str:
    """Return bits per value, to three figures or two decimals.

    >>> bits(2.3154), bits(64.0), bits(0.001)
    ('2.32', '64.0', 'under 0.01')
    """
    return "under 0.01" if 0 < value < 0.005 else f"{value:,.{_decimals(value)}f}"


def _decimals(value: float) -> int:
    return 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
