"""The server's side of a model's life: the optimizer step, and the chain of released models.

Clients never hold the server's model itself but the *released* one: version ``v`` is version ``v - 1`` plus what
clients decode from the coded delta. What coding lost stays in ``model - released`` and goes out with the next delta,
which is error feedback on the server (Seide et al. 2014; Karimireddy et al. 2019) with a single state for all clients.
Under a private mode this is post-processing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fedcomp.arrays import Arrays, add, scale, subtract, zeros_like

Encode = Callable[[Arrays], bytes]
Decode = Callable[[bytes], Arrays]


@dataclass(frozen=True)
class ServerModel:
    """The model, its velocity, and what has been released of it."""

    version: int
    model: Arrays
    released: Arrays
    velocity: Arrays
    deltas: tuple[bytes, ...] = field(default=(), repr=False)
    """Coded deltas, the last one leading to ``version``; older ones fall out."""

    @staticmethod
    def initial(model: Arrays) -> "ServerModel":
        """Return version 0: released as it is."""
        return ServerModel(version=0, model=model, released=model, velocity=zeros_like(model))

    def step(self, mean_update: Arrays, *, learning_rate: float, momentum: float) -> "ServerModel":
        """Return the model after ``velocity = momentum * velocity + mean``, ``model += learning_rate * velocity``."""
        velocity = add(scale(self.velocity, momentum), mean_update)
        return replace(self, model=add(self.model, scale(velocity, learning_rate)), velocity=velocity)

    def release(self, encode: Encode, decode: Decode, *, keep: int) -> "ServerModel":
        """Return the next version, with the coded delta that leads to it; at most ``keep`` deltas are kept."""
        payload = encode(subtract(self.model, self.released))
        released = add(self.released, decode(payload))
        deltas = (*self.deltas, payload)
        kept = deltas[max(0, len(deltas) - keep) :]
        return replace(self, version=self.version + 1, released=released, deltas=kept)

    def deltas_since(self, held_version: int) -> tuple[bytes, ...] | None:
        """Return the deltas that lead from ``held_version`` to ``version``; None if that chain is not kept."""
        missing = self.version - held_version
        if not 0 <= missing <= len(self.deltas):
            return None
        return self.deltas[len(self.deltas) - missing :]
