"""What an export leaves: the model's file, its manifest and card, its weights; and the curve in the run's directory."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcomp.crypto import SigningKey
from fedcomp.errors import RunError
from fedcomp.export.candidate import Measured
from fedcomp.export.card import model_card
from fedcomp.export.manifest import write_manifest
from fedcomp.export.search import BASELINE, Built, Ground, Timing
from fedcomp.export.target import Choice, frontier
from fedcomp.files import write_atomic
from fedcomp.plan import Plan
from fedcomp.plan.teacher import about_small, remark
from fedcomp.privacy import FileLedger
from fedcomp.run_files import RunDirectory
from fedcomp.runtimes.registry import RUNTIMES
from fedcomp.shrink import save_arrays
from fedcomp.shrink.widths import widths_of
from fedcomp.training import get_arrays

_ACCURACY = {"synthetic": "agreement with the dense model on made-up rows, and not accuracy: that was not measured"}


@dataclass(frozen=True, eq=False)
class Writer:
    """Writes what came of a search; every file is whole or not there."""

    plan: Plan
    run: RunDirectory
    ground: Ground
    timing: Timing

    def curve(self, target: str, measured: Sequence[Measured], choice: Choice | None, seconds: float) -> None:
        """Write ``curve.json``: every candidate, what was asked for and which was chosen (None: none keeps it)."""
        best = {found.name for found in frontier(measured)}
        curve = {
            "target": target,
            "chosen": choice.chosen.name if choice else None,
            "why": choice.why if choice else None,
            "baseline": BASELINE,
            **self._how(),
            "seconds": round(seconds, 1),
            "candidates": [found.to_json() | {"best": found.name in best} for found in measured],
        }
        write_atomic(self.run.path / "curve.json", (json.dumps(curve, indent=2, allow_nan=False) + "\n").encode())

    def model(self, folder: Path, choice: Choice, built: Built) -> Path:
        """Write the chosen model into ``folder`` and return its file; the manifest, which vouches for it, comes last.

        Raises:
            RunError: if a file cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make {folder}: {error.strerror}") from error
        path = folder / f"model{RUNTIMES[built.runtime].suffix}"
        content = self._manifest(path.name, choice, built)
        write_atomic(path, built.content)
        # where a global model eats features, it is the run's student that everything was made of
        of_student = built.origin == "student" or "student" not in self.ground.origins
        about = about_small(self.plan.config, built.shrunk.module, "student" if of_student else "model")
        save_arrays(folder / "model.safetensors", get_arrays(built.shrunk.module), about)
        write_atomic(folder / "card.md", model_card(content).encode())
        write_manifest(folder / "manifest.json", content, self._key())
        return path

    def _manifest(self, name: str, choice: Choice, built: Built) -> dict[str, Any]:
        config, rows = self.plan.config, self.ground.judged.inputs
        return {
            "file": name,
            "sha256": hashlib.sha256(built.content).hexdigest(),
            "bytes": len(built.content),
            "runtime": built.runtime,
            "number_format": built.number_format,
            "task": config.task,
            "architecture": {"origin": built.origin, "widths": widths_of(built.shrunk.module)},
            "input": {"shape": list(rows.shape[1:]), "dtype": str(rows.dtype)},
            "steps": [{"config": dict(step), "data": data} for step, data in built.touched],
            "run": {"name": config.name, "config_digest": self.plan.digest(), "seed": config.seed},
            "privacy": self._privacy(built),
            "measured": choice.chosen.to_json()
            | {"candidates": choice.candidates, "interval_as_chosen": list(choice.interval)}
            | self._how(),
            "why": choice.why,
        }

    def _how(self) -> dict[str, Any]:
        timing, ground = self.timing, self.ground
        return {
            "rows": len(ground.judged),
            "data": ground.judged_data,
            "accuracy_is": _ACCURACY.get(ground.judged_data, "the task's metric, on rows with labels"),
            "batch": timing.batch,
            "threads": timing.threads,
            "rounds": timing.rounds,
            "clock": "processor" if timing.threads == 1 else "wall",
        }

    def _privacy(self, built: Built) -> Mapping[str, Any]:
        """Return epsilon before and after: equal, since every step reads released state, public or made-up rows."""
        checkpoint = self.run.load_checkpoint()
        trained = checkpoint.totals["trained"] if checkpoint else {}
        spent = self.plan.spent_after(max(trained.values(), default=0))
        words = spent.sentence() + remark(self.plan.config) if spent else "no privacy is claimed (mode none)"
        fields = spent.to_json() if spent else None
        touched = sorted({data for _, data in built.touched if data != "none"})
        ledger = self.run.ledger_path
        return {
            "before": words,
            "after": f"{words}; making it smaller read {' and '.join(touched) or 'no'} rows",
            "spent": fields,
            "spent_after": fields,
            "ledger_head": FileLedger(ledger).head() if ledger.exists() else "",
        }

    def _key(self) -> SigningKey:
        """Return the key that signs the run's ledger, or one of the run's own where there is no ledger."""
        for name in ("ledger.key", "model.key"):
            if (self.run.path / name).exists():
                return SigningKey.load(self.run.path / name)
        key = SigningKey.generate()
        key.save(self.run.path / "model.key")
        return key
