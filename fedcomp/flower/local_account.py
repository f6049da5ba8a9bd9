"""What a client charges itself under mode ``local``: a round before it is trained, its update before that leaves.

The steps are: charge (intent), train, store the reply, commit, reply; each is on disk before the next begins. A kill
before the reply is stored lets the round be trained again under its charge, because nothing left. A kill after that
lets the stored reply be committed and sent, once more or for the first time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedcomp.errors import FedcompError
from fedcomp.flower.ledgers import digest_of
from fedcomp.flower.messages import Frame, pack, unpack
from fedcomp.plan import Plan
from fedcomp.privacy import Budget, FileLedger, LedgerError


@dataclass(frozen=True)
class LocalAccount:
    """One client's account in one run, for as long as it stays in it (its session)."""

    plan: Plan
    ledger: FileLedger
    client: str
    run: str
    session: str

    @property
    def release(self) -> str:
        """The name of this session's updates in the ledger."""
        return f"update/{self.session}"

    def charge(self, number: int, budget: Budget | None, witness: str) -> None:
        """Charge round ``number``; again for a round that was charged and whose update was never stored.

        Raises:
            BudgetExceeded: if the account would cost more than ``budget``.
            LedgerError: if the ledger cannot be read or written, or something was released under this charge: the
                update is not here any more, so what is trained now would be a second release.
            FedcompError: if the plan has no noise.
        """
        privacy, event = self.plan.config.privacy, self.plan.round_event
        if event is None or privacy.noise_multiplier is None:
            raise FedcompError("a private mode without noise is not trained")
        entry = self.ledger.compose(
            self.plan.subject(self.client),
            event,
            budget=budget,
            witness=witness,
            run=self.run,
            server_round=number,
            release=self.release,
            sensitivity=privacy.max_grad_norm,
            noise_std=privacy.noise_multiplier * privacy.max_grad_norm,
            sampler="poisson",
            sampling_probability=privacy.sampling_probability,
            codec_digest=self.plan.uplink.digest(),
        )
        if (commit := self.ledger.commit_of(entry)) is not None:
            raise LedgerError(
                f"ledger entry {entry.index}: an update was released under it (entry {commit.index}) that is not "
                "stored here any more; was the state put back from a backup?"
            )

    def commit(self, number: int, reply: bytes, witness: str) -> bytes:
        """Commit a stored reply, and return it with what the server keeps: this ledger's head by then, and its key.

        The head is the hash of the commit itself, so a reply that is sent again is the same to the last byte.
        """
        frame = unpack(reply)
        key = (self.plan.subject(self.client), self.run, number, self.release)
        commit = self.ledger.commit(key, digest_of(frame.parts[0]), witness=witness)
        header: Mapping[str, Any] = {**frame.header, "head": commit.hash, "ledger": commit.key}
        return pack(Frame(header, frame.parts))
