"""The plan of a run: which task, codecs, order, noise and aggregator, checked to fit before round 1.

Server and clients build equal plans from one config and compare digests. Every problem is found when a plan is made;
after it exists, nothing about the order of a round is decided anywhere else.
"""

from fedcomp.plan.bundle import Plan
from fedcomp.plan.making import make_plan, plan_from_json

__all__ = ["Plan", "make_plan", "plan_from_json"]
