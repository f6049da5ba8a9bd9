"""The audit of a run: its models attacked, its ledger recomputed, its code replayed and bounded."""

from fedcomp.run_audit.models import AuditResult, audit_models
from fedcomp.run_audit.whole import Rehearse, audit_whole

__all__ = ["AuditResult", "Rehearse", "audit_models", "audit_whole"]
