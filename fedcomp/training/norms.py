"""Norms of rows that no row can hide from: what a norm misses is not clipped."""

import torch

_FAINT = 1e-12
_PIECE = 2**16


def lengths(rows: torch.Tensor) -> torch.Tensor:
    """Return the L2 norms ``[n]`` of ``rows [n, d]`` in float64; not finite for a row that is not.

    Squares of values below 1e-19 vanish in float32, and a norm of 0 times a large factor would clip nothing; those of
    values above 1e19 overflow. Such rows are looked at in float64, which would cost fifteen times more for all.

    A float32 sum of four million squares came out short by 7.5e-5 of the norm, which is more than the slack of the
    clipping engines' bound. So pieces of 65,536 values are summed in float32, and the pieces in float64.
    """
    pieces = [torch.linalg.vector_norm(piece, dim=1).double() for piece in torch.split(rows, _PIECE, dim=1)]
    found: torch.Tensor = torch.linalg.vector_norm(torch.stack(pieces), dim=0)
    odd = ~((found >= _FAINT) & (found < torch.inf))
    if odd.any():
        found[odd] = torch.linalg.vector_norm(rows[odd], dim=1, dtype=torch.float64)
    return found
