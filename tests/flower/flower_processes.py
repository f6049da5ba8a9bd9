"""Flower's own processes on loopback, for the tests that run the app on real engines."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Processes:
    """Starts processes that share a Flower home in ``folder``, and ends them with all that they started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._home = folder / "flower-home"
        self._home.mkdir()
        self._started: list[subprocess.Popen[bytes]] = []
        connection = f'[superlink.here]\naddress = "127.0.0.1:{self.port}"\ninsecure = true\n'
        (self._home / "config.toml").write_text(f'[superlink]\ndefault = "here"\n{connection}')
        self._env = {
            **os.environ,
            "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
            "FLWR_HOME": str(self._home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def start_superlink(self, *options: str) -> None:
        """Start a SuperLink and wait until it listens."""
        self._start("superlink", "flower-superlink", "--host", "127.0.0.1", "--port", str(self.port), *options)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"the SuperLink does not listen:\n{self.logs()}")

    def start_supernode(self, name: str, node_config: str) -> None:
        """Start a SuperNode that works in a folder of its own."""
        ours = ("--superlink", f"127.0.0.1:{self.port}", "--port", str(free_port()))
        self._start(name, "flower-supernode", *ours, "--node-config", node_config)

    def flwr_run(self, run_config: str, *options: str) -> str:
        """Run this project's app to its end, and return what was printed."""
        app = self.folder / "app"  # its files alone: in the project's folder Flower would walk through .venv for 7 s
        for name in ("server", "clients", "configs"):
            shutil.copytree(PROJECT / name, app / name)
        shutil.copy(PROJECT / "pyproject.toml", app)
        command = ["flwr", "run", str(app), "here", "--stream", "--run-config", run_config, *options]
        done = subprocess.run(
            [str(SCRIPTS / command[0]), *command[1:]],
            env=self._env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return done.stdout

    def logs(self) -> str:
        """Return the ends of what the processes logged."""
        return "\n".join(f"--- {path.stem}\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.log"))

    def end(self) -> None:
        """End every process that was started here, or by one that was: they all share this Flower home."""
        deadline = time.monotonic() + 5
        sign = signal.SIGTERM
        while left := self.alive():
            for process in left:
                try:
                    os.kill(process, sign)
                except ProcessLookupError:
                    continue
            time.sleep(0.2)
            if time.monotonic() > deadline:
                sign = signal.SIGKILL
        for process in self._started:
            process.wait()

    def _start(self, name: str, command: str, *options: str) -> None:
        place = self.folder / name
        place.mkdir()
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [str(SCRIPTS / command), "--insecure", *options],
                env=self._env,
                cwd=place,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)

    def alive(self) -> list[int]:
        """Return the processes that were started here and still run."""
        mark = f"FLWR_HOME={self._home}\0".encode()
        alive = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes() and int(path.parent.name) != os.getpid():
                    alive.append(int(path.parent.name))
            except OSError:
                continue
        return alive
