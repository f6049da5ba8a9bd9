"""Distillation: from one teacher, from an ensemble of client models, and among models of different shapes."""

from fedcomp.shrink.distillation.ensemble import EnsembleTeacher
from fedcomp.shrink.distillation.losses import distillation_loss
from fedcomp.shrink.distillation.recover import Distil, learn

__all__ = ["Distil", "EnsembleTeacher", "distillation_loss", "learn"]
