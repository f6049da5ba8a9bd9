"""What the server writes down: under mode ``central`` its own releases, under ``local`` what its clients committed.

Under ``central`` an entry is on disk before the clients of its round are asked, and its commit before the new model
is. A round that a kill interrupted is drawn and noised anew when the run goes on, and charged anew: what came of the
first attempt may have been seen. Under ``local`` the clients charge themselves; the server keeps the heads of their
ledgers and the digests of their updates (anchors), before it counts them. Each model goes out with the head of what the
server has written so far. Under mode ``none`` there is none of this.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from fedcomp.arrays import Arrays, digest
from fedcomp.flower.ledgers import open_ledger
from fedcomp.plan import Plan
from fedcomp.privacy import Anchors, FileLedger, Receipt
from fedcomp.run_files import RunDirectory
from fedcomp.terms import by_example, cohort_sampler, server_mechanism


@dataclass(frozen=True)
class SharedAccount:
    """The account of one run's server, for as long as its process lives."""

    plan: Plan
    run: str
    ledger: FileLedger | None
    anchors: Anchors | None
    session: str

    def head(self) -> str:
        """Return the head of what was written so far: what clients keep. Empty where nothing is written."""
        written = self.ledger or self.anchors
        return written.head() if written else ""

    def charge(self, number: int, clipping_norm: float = 0.0) -> None:
        """Charge round ``number``, whose bound is ``clipping_norm`` where that moves, or 0 for the first one.

        The noise that is written down is that of the sum of updates. Where the bound moves it is more than the event's
        multiplier times the bound: the event covers the clients' bits as well.

        Raises:
            BudgetExceeded: if the account would cost more than its target; nobody may be asked then.
            LedgerError: if the ledger cannot be read or written.
        """
        event, privacy = self.plan.round_event, self.plan.config.privacy
        if self.ledger is None or event is None:
            return
        sampler, examples = cohort_sampler(self.plan.config), by_example(self.plan.config)
        mechanism = server_mechanism(self.plan.config, clipping_norm or None)
        self.ledger.compose(
            self.plan.shared_subject(),
            event,
            budget=self.plan.budget,
            run=self.run,
            server_round=number,
            release=self._release,
            unit=privacy.unit,
            sensitivity=mechanism.sensitivity * (1.0 if examples else sampler.moves),
            noise_std=mechanism.noise_std,
            sampler="poisson" if examples else sampler.kind,
            sampling_probability=privacy.sampling_probability if examples else sampler.sampling_probability,
            codec_digest=self.plan.uplink.digest(),
        )

    def settle(self, number: int, receipts: Sequence[Receipt], model: Arrays) -> None:
        """Write down what round ``number`` came to, before the checkpoint is saved that counts it.

        Under mode ``central`` that is the digest of the new model, from which everything that is released is made.
        Clients' updates are raw there, so nothing of them is kept.

        Raises:
            LedgerError: if the round was not charged, or the files cannot be read or written.
        """
        if self.ledger is not None:
            key = (self.plan.shared_subject(), self.run, number, self._release)
            self.ledger.commit(key, digest(model))
        if self.anchors is not None:
            self.anchors.append(receipts)

    @property
    def _release(self) -> str:
        return f"model/{self.session}"

    def releasing(self, trained: tuple[str, ...]) -> tuple[str, ...]:
        """Return the accounts that a round was charged to: of the clients that trained, or the shared one."""
        return trained if self.ledger is None else (self.plan.shared_subject(),)


def account_of(plan: Plan, run: RunDirectory) -> SharedAccount:
    """Return the account of a run."""
    ledger = open_ledger(run.ledger_path) if plan.central else None
    anchors = Anchors(run.anchors_path) if plan.private and not plan.central else None
    return SharedAccount(plan, run.identity()["run"], ledger, anchors, secrets.token_hex(8))
