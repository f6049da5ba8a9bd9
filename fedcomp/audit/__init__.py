"""Attacks on what a run releases, and what they prove about its privacy."""

from fedcomp.audit.membership import MembershipReport, TprAtFpr, infer_membership

__all__ = ["MembershipReport", "TprAtFpr", "infer_membership"]
