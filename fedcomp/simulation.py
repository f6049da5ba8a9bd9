"""A run in this process: the two Flower apps on a LocalGrid."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcomp.audit.finding import Finding
from fedcomp.config import Config
from fedcomp.flower.grid import LocalGrid
from fedcomp.flower.place import forget_places
from fedcomp.flower.rehearsal import rehearse
from fedcomp.flower.server import server_app
from fedcomp.logs import quieter
from fedcomp.observer import Observer
from fedcomp.outcome import audit_run
from fedcomp.plan import make_plan
from fedcomp.run_files import RunDirectory
from fedcomp.threads import single_thread

CLIENT_APP = "fedcomp.flower.client:client_app"


@dataclass(frozen=True)
class SimulationResult:
    """A finished run: where its files are, and what ``summary.json`` holds."""

    path: Path
    summary: dict[str, Any]


def simulate(
    config: Config, *, out: Path | str | None = None, overwrite: bool = False, observer: Observer | None = None
) -> SimulationResult:
    """Run ``config`` with virtual clients in this process, or in ``config.engine.workers`` worker processes.

    Args:
        config: the run; see ``fedcomp.load_config``.
        out: its directory; ``runs/<name>`` if left out.
        overwrite: replace an earlier run there.
        observer: is told of each round and each later phase.

    Raises:
        ConfigError: if the config cannot be run, with every reason, before anything is written.
        DataError: if the data is missing, with the command that installs it.
        RunError: if the directory exists or cannot be written, or no client's update could be counted.
    """
    plan = make_plan(config)
    plan.check_shares()
    run = RunDirectory.create(Path(out or Path("runs") / config.name), plan.config, overwrite=overwrite)
    forget_places()  # the clients of a run that was replaced had other ledgers in the same place
    return _carry_out(run, observer)


def resume(path: Path | str, *, observer: Observer | None = None) -> SimulationResult:
    """Go on with a run where it stopped; rounds that were finished are not run again, and nothing is charged twice.

    Raises:
        RunError: if there is no run at ``path``, or its files are damaged or were changed.
    """
    return _carry_out(RunDirectory.open(Path(path)), observer)


def audit(path: Path | str, *, quick: bool = False, observer: Observer | None = None) -> tuple[Finding, ...]:
    """Audit the finished run at ``path``, layer by layer, and write what was found into its directory.

    ``quick`` draws less, and leaves out shadow models and the inversion of updates.

    Raises:
        RunError: if the run is not finished or its files are damaged.
    """
    with quieter("flwr", logging.WARNING), single_thread():
        return audit_run(Path(path), rehearse, quick=quick, observer=observer)


def _carry_out(run: RunDirectory, observer: Observer | None) -> SimulationResult:
    config = run.config()
    place = str(run.path.resolve())
    with quieter("flwr", logging.WARNING), _grid(config, place) as grid:
        grid.serve(server_app(observer), {"run-dir": place})
    return SimulationResult(run.path, json.loads((run.path / "summary.json").read_text()))


def _grid(config: Config, place: str) -> LocalGrid:
    node_config = {"state-dir": place}
    return LocalGrid(CLIENT_APP, config.clients.population, node_config=node_config, workers=config.engine.workers)
