"""The ServerApp that a SuperLink runs: fedcomp's own, with relative configs taken from the files sent with it."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedcomp.flower import server_app

_SENT = Path(__file__).resolve().parent.parent
"""Where Flower unpacks what ``flwr run`` sent; the working directory is the SuperLink's, and not the same."""

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry out the run that ``config`` of the run config names; see ``fedcomp.flower.server_app``."""
    config = str(context.run_config.get("config", "configs/demo.toml"))
    context.run_config["config"] = str(_SENT / config)  # an absolute path stays as it is
    server_app()(grid, context)
