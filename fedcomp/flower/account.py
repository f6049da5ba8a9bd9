"""What the server charges: under mode ``central`` every release, before anything of it exists; else nothing.

An entry is on disk before the clients of its round are asked. A round that a kill interrupted is drawn and noised anew
when the run goes on, and charged anew: what came of the first attempt may have been seen.
"""

import secrets
from dataclasses import dataclass

from fedcomp.plan import Plan
from fedcomp.privacy import FileLedger
from fedcomp.run_files import RunDirectory
from fedcomp.terms import by_example, cohort_sampler, server_mechanism


@dataclass(frozen=True)
class SharedAccount:
    """The account of one run's server, for as long as its process lives."""

    plan: Plan
    run: str
    ledger: FileLedger | None
    session: str

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
            release=f"model/{self.session}",
            unit=privacy.unit,
            sensitivity=mechanism.sensitivity * (1.0 if examples else sampler.moves),
            noise_std=mechanism.noise_std,
            sampler="poisson" if examples else sampler.kind,
            sampling_probability=privacy.sampling_probability if examples else sampler.sampling_probability,
            codec_digest=self.plan.uplink.digest(),
        )

    def releasing(self, trained: tuple[str, ...]) -> tuple[str, ...]:
        """Return the accounts that a round was charged to: of the clients that trained, or the shared one."""
        return trained if self.ledger is None else (self.plan.shared_subject(),)


def account_of(plan: Plan, run: RunDirectory) -> SharedAccount:
    """Return the account of a run."""
    ledger = FileLedger(run.path / "ledger.jsonl") if plan.central else None
    return SharedAccount(plan, run.identity()["run"], ledger, secrets.token_hex(8))
