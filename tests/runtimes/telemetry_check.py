"""Whether a program that uses ONNX Runtime leaves traces or could report: run apart, in an empty home, not as CI.

Runtimes that report keep still where variables say that this is CI, so the child process gets none of them. What is
looked at, since a report itself cannot be waited for: files that a reporter keeps its device number and its queue in,
sockets that are open at the end, and the switch at the moment of the import.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HOST = b"events.data.microsoft.com"
_WATCH = """
import json, os, sys
seen = {}
def hook(event, arguments):
    if event == "import" and arguments[0] == "onnxruntime":
        seen.setdefault("switch", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.addaudithook(hook)
"""
_TELL = """
import importlib.util
links = []
for number in os.listdir("/proc/self/fd"):
    try:
        links.append(os.readlink("/proc/self/fd/" + number))
    except OSError:
        pass
seen["sockets"] = sorted(link for link in links if link.startswith("socket:"))
seen["package"] = importlib.util.find_spec("onnxruntime").submodule_search_locations[0]
print("\\n" + json.dumps(seen))
"""


def faults(code: str, home: Path, packages: Path | None = None) -> list[str]:
    """Return what is wrong with a program in a fresh process whose home, caches and temporary folder are empty.

    ``packages``: a folder that is searched for packages first.
    """
    places = {name: home / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    places |= {name: home / name for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR")}
    for place in places.values():
        place.mkdir(parents=True)
    root = Path(__file__).parents[2]
    paths = [str(root)] if packages is None else [str(packages), str(root)]
    environment = {name: str(place) for name, place in places.items()}
    environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    whole = _WATCH + code + _TELL
    child = subprocess.run(
        [sys.executable, "-B", "-W", "ignore", "-c", whole], env=environment, cwd=home, capture_output=True, text=True
    )
    if child.returncode:
        raise RuntimeError(child.stderr)
    seen = json.loads(child.stdout.splitlines()[-1])
    found = [f"file {path.relative_to(home)}" for path in sorted(home.rglob("*")) if not path.is_dir()]
    found += [f"open {socket}" for socket in seen["sockets"]]
    if "switch" not in seen:
        found.append("onnxruntime was never imported: nothing was tested")
    elif seen["switch"] != "1" and knows_host(Path(seen["package"])):
        found.append("imported a package that knows the host, without the switch")
    return found


def knows_host(package: Path) -> bool:
    """Return whether the name of the host stands in any library of a package."""
    libraries = [path for path in package.rglob("*") if ".so" in path.suffixes or path.suffix in (".dll", ".dylib")]
    return any(HOST in path.read_bytes() for path in libraries)
