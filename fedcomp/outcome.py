"""What comes of a run once its rounds are done: the small model, the audit, and the summary of it all.

Everything here works on released state and public data, except the audit, which is an auditor's view: it scores rows
that clients trained on. A simulation has them; a real server does not.
"""

import importlib.metadata
import platform
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fedcomp.arrays import Array, Arrays, num_values
from fedcomp.audit import MembershipReport, infer_membership
from fedcomp.errors import FedcompError
from fedcomp.evaluation import Evaluation, ModelCost, evaluate, model_cost, per_example_losses
from fedcomp.plan import Plan
from fedcomp.privacy import FileLedger
from fedcomp.report import write_report
from fedcomp.rng import derived_seed, stream
from fedcomp.run_files import Checkpoint, RunDirectory
from fedcomp.shrink import distil, export_onnx, save_arrays
from fedcomp.training import get_arrays, set_arrays


class Observer:
    """Is told how a run goes; this one does nothing with it."""

    def round_done(self, row: Mapping[str, Any]) -> None:
        """Called with each round's row of ``metrics.jsonl``."""

    def phase(self, name: str) -> None:
        """Called when what follows the rounds begins: ``student``, ``audit``, ``report``."""
