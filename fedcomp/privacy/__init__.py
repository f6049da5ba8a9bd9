"""Differential privacy: mechanisms that say what they did, samplers that say what they drew, and what it all costs."""

from fedcomp.privacy.accounting import epsilon
from fedcomp.privacy.adaptive_clip import AdaptiveClip
from fedcomp.privacy.anchors import Anchor, Anchors, Receipt
from fedcomp.privacy.budget import Budget, BudgetExceeded
from fedcomp.privacy.calibration import calibrate_noise_multiplier, epsilon_schedule
from fedcomp.privacy.chain import LedgerError
from fedcomp.privacy.entry import Charge
from fedcomp.privacy.events import DpEvent, UnsupportedEvent, event_from_json, event_to_json
from fedcomp.privacy.file_ledger import FileLedger
from fedcomp.privacy.ledger import Ledger
from fedcomp.privacy.lines import Commit, Entry, Signer, Verifier
from fedcomp.privacy.mechanism import ClippedSum, GaussianMechanism, Mechanism, PrivateUpdate
from fedcomp.privacy.sampling import CohortSampler, PoissonSampler
from fedcomp.privacy.spent import PrivacySpent

__all__ = [
    "AdaptiveClip",
    "Anchor",
    "Anchors",
    "Budget",
    "BudgetExceeded",
    "Charge",
    "ClippedSum",
    "CohortSampler",
    "Commit",
    "DpEvent",
    "Entry",
    "FileLedger",
    "GaussianMechanism",
    "Ledger",
    "LedgerError",
    "Mechanism",
    "PoissonSampler",
    "PrivacySpent",
    "PrivateUpdate",
    "Receipt",
    "Signer",
    "UnsupportedEvent",
    "Verifier",
    "calibrate_noise_multiplier",
    "epsilon",
    "epsilon_schedule",
    "event_from_json",
    "event_to_json",
]
