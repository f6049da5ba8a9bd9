"""The house: imports fall to a lower floor, and each library stays in its rooms.

``problems`` reads the source of a package and returns what is wrong with it. The last tests build small bad houses and
check that each fault is found: a reader of imports that finds nothing is worth nothing.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parent.parent / "fedcomp"

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("arrays", "config", "files", "lazy", "logs", "memory", "observer", "rng", "threads"),
    ("codecs", "crypto", "privacy", "runtimes", "tasks"),
    ("aggregation", "evaluation", "latency", "shrink", "state", "training"),
    ("audit", "order", "policy", "report", "terms"),
    ("plan", "run_files"),
    ("forecast", "released", "run_audit", "statement"),
    ("export", "outcome"),
    ("flower",),
    ("simulation",),
    ("cli",),
    ("__init__", "__main__"),
)
"""What imports fall through, from the ground up: a room may import from rooms of rows above its own in this table."""

ONLY_IN = {
    "cryptography": {"crypto"},
    "dp_accounting": {"privacy"},
    "flwr": {"flower"},
    "flwr_datasets": {"tasks"},
    "opacus": {"training"},
    "torch_pruning": {"shrink"},
    "onnxruntime": {"runtimes"},
    "executorch": {"runtimes"},
    "openvino": {"runtimes"},
}
WITHOUT_TORCH = {
    *("errors", "arrays", "config", "files", "rng", "codecs", "crypto", "privacy", "aggregation", "state"),
    *("order", "report", "run_files"),
}
NEVER = {"server", "clients", "simulations", "tests", "benchmarks"}
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "random"}
"""What executes what it reads, and the one generator that everybody shares."""
APART = {
    "flower.server": {"training"},
    "flower.client": {"aggregation", "shrink", "audit"},
}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 350, 60


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name below the package, and what is in it."""

    name: str
    path: Path
    source: str
    nodes: tuple[ast.AST, ...]
    """The whole tree, root first."""

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]


def read(package: Path) -> list[Module]:
    modules = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
        source = path.read_text(encoding="utf-8")
        modules.append(Module(name, path, source, tuple(ast.walk(ast.parse(source)))))
    return modules


def imported(module: Module, package: str) -> Iterator[str]:
    """Yield the full names that a module imports, wherever in it; for ``from a import b`` that is ``a.b``."""
    is_package = module.path.name == "__init__.py"
    here = [package, *(part for part in module.name.split(".") if part != "__init__")]
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = here[: len(here) - node.level + is_package] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def inside(module: Module, package: str, modules: dict[str, Module]) -> Iterator[str]:
    """Yield the names of the package's own modules that a module imports."""
    for name in imported(module, package):
        top, _, rest = name.partition(".")
        if top != package:
            continue
        parts = rest.split(".") if rest else ["__init__"]
        # the longest part of the name that is a module; the rest are names in it
        while parts and ".".join(parts) not in modules:
            parts.pop()
        yield ".".join(parts) or "__init__"


def floor_problems(modules: dict[str, Module], package: str) -> Iterator[str]:
    floors = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    for module in modules.values():
        if module.room not in floors:
            yield f"{module.name}: {module.room} has no floor"
            continue
        for target in sorted(set(inside(module, package, modules))):
            room = target.partition(".")[0]
            if room != module.room and floors.get(room, len(FLOORS)) >= floors[module.room]:
                yield f"{module.name}: imports {target}, which is not on a lower floor"
            if room in APART.get(module.name, set()):
                yield f"{module.name}: must not import {room}"


def library_problems(modules: dict[str, Module], package: str) -> Iterator[str]:
    for module in modules.values():
        for top in sorted({name.partition(".")[0] for name in imported(module, package)}):
            if top in NEVER or top in UNSAFE:
                yield f"{module.name}: must not import {top}"
            if module.room not in ONLY_IN.get(top, {module.room}):
                yield f"{module.name}: {top} belongs in {sorted(ONLY_IN[top])} alone"
            if top in ("torch", "opacus", "torchvision") and module.room in WITHOUT_TORCH:
                yield f"{module.name}: {module.room} does without {top}"


def circle_problems(modules: dict[str, Module], package: str) -> Iterator[str]:
    """Find circles by taking away, again and again, what imports nothing that is left."""
    left = {name: {t for t in inside(module, package, modules) if t != name} for name, module in modules.items()}
    left.pop("__init__", None)
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    # what only leads to a circle is no part of one
    while roots := [name for name in left if not any(name in targets for targets in left.values())]:
        for name in roots:
            del left[name]
    if left:
        yield f"circle of imports among {sorted(left)}"


def shape_problems(module: Module) -> Iterator[str]:
    lines = module.source.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{module.name}: {lines} lines, expected at most {MAX_FILE_LINES}"
    if not ast.get_docstring(module.nodes[0]) or not module.source.startswith('"""'):
        yield f"{module.name}: expected the module's docstring in the first line"
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{module.name}: {node.name} has {length} lines, expected at most {MAX_FUNCTION_LINES}"
        elif isinstance(node, ast.Assert):
            yield f"{module.name}: line {node.lineno} has an assert, which python -O takes out"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{module.name}: line {node.lineno} prints"


def problems(directory: Path) -> list[str]:
    modules = {module.name: module for module in read(directory)}
    found = [problem for module in modules.values() for problem in shape_problems(module)]
    for rule in (floor_problems, library_problems, circle_problems):
        found += rule(modules, directory.name)
    return found


def test_the_house_stands():
    assert problems(LIBRARY) == []


def test_the_house_was_read():
    modules = {module.name: module for module in read(LIBRARY)}
    assert len(modules) > 50
    edges = {(name, target) for name, module in modules.items() for target in inside(module, "fedcomp", modules)}
    assert {("plan.making", "order"), ("files", "errors"), ("codecs", "codecs.base")} <= edges
    assert any(name.startswith("flwr.") for name in imported(modules["flower.messages"], "fedcomp"))


def test_small_boards_need_no_torch():
    """What the rule is for, tried: decoding, sealing, summing and keeping state load neither torch nor Flower."""
    rooms = ["arrays", "config", "codecs", "crypto.at_rest", "aggregation", "state", "order"]
    code = f"import sys\nfor room in {rooms}: __import__('fedcomp.' + room)\nprint(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'fedcomp.state.sqlite'" in loaded
    for heavy in ("torch", "flwr", "opacus", "dp_accounting", "matplotlib"):
        assert f"'{heavy}'" not in loaded, f"{heavy} was loaded"


DOC = '"""Doc."""\n'
BAD_HOUSES = {
    "upwards": ({"codecs/a.py": "from fedcomp.training import x"}, "codecs.a: imports training, which is not"),
    "upwards by plain import": ({"codecs/a.py": "import fedcomp.plan"}, "codecs.a: imports plan"),
    "upwards, deep in a function": (
        {"arrays.py": "def f():\n    from fedcomp import codecs"},
        "arrays: imports codecs",
    ),
    "upwards, relative": ({"state/a.py": "from ..plan import x"}, "state.a: imports plan"),
    "upwards, by name": (
        {"arrays.py": "import importlib\nimportlib.import_module('fedcomp.plan')"},
        "arrays: imports plan",
    ),
    "sideways": ({"codecs/a.py": "from fedcomp.crypto import x"}, "codecs.a: imports crypto, which is not"),
    "the top": ({"codecs/a.py": "from fedcomp import __version__"}, "codecs.a: imports __init__"),
    "order imports plan": ({"order.py": "from fedcomp.plan import x"}, "order: imports plan"),
    "no floor": ({"extra.py": ""}, "extra: extra has no floor"),
    "operator's code": ({"cli.py": "import server.app"}, "cli: must not import server"),
    "clients' code": ({"cli.py": "from clients import app"}, "cli: must not import clients"),
    "scripts": ({"cli.py": "from simulations.reference import run"}, "cli: must not import simulations"),
    "server trains": (
        {"flower/server.py": "from fedcomp.training import x"},
        "flower.server: must not import training",
    ),
    "client sums": (
        {"flower/client.py": "from fedcomp.aggregation.mean import x"},
        "flower.client: must not import aggregation",
    ),
    "client shrinks": ({"flower/client.py": "from fedcomp import shrink"}, "flower.client: must not import shrink"),
    "client audits": ({"flower/client.py": "import fedcomp.audit"}, "flower.client: must not import audit"),
    "torch": ({"aggregation/a.py": "from torch import nn"}, "aggregation.a: aggregation does without torch"),
    "opacus": ({"flower/a.py": "import opacus.grad_sample"}, "flower.a: opacus belongs in ['training'] alone"),
    "cryptography": ({"flower/a.py": "from cryptography import x"}, "flower.a: cryptography belongs in ['crypto']"),
    "flower": ({"plan.py": "from flwr.app import Message"}, "plan: flwr belongs in ['flower'] alone"),
    "accounting": ({"plan.py": "import dp_accounting as dp"}, "plan: dp_accounting belongs in ['privacy'] alone"),
    "pickle": ({"state/a.py": "import pickle"}, "state.a: must not import pickle"),
    "global generator": ({"rng.py": "from random import random"}, "rng: must not import random"),
    "circle": (
        {"codecs/a.py": "from fedcomp.codecs import b", "codecs/b.py": "from fedcomp.codecs.a import x"},
        "circle of imports among ['codecs.a', 'codecs.b']",
    ),
    "assert": ({"arrays.py": "def f(x):\n    assert x"}, "arrays: line 3 has an assert"),
    "print": ({"arrays.py": "print('x')"}, "arrays: line 2 prints"),
    "long file": ({"arrays.py": "x = 1\n" * 350}, "arrays: 351 lines, expected at most 350"),
    "long function": ({"arrays.py": "def f():\n" + "    x = 1\n" * 60}, "arrays: f has 61 lines, expected at most 60"),
}


def build(root: Path, files: dict[str, str], head: str = DOC) -> Path:
    package = root / "fedcomp"
    rooms = {"__init__.py": ""} | {f"{room}/__init__.py": "" for room in ("codecs", "crypto", "training", "shrink")}
    rooms |= {f"{room}/__init__.py": "" for room in ("aggregation", "state", "flower", "audit")} | {"plan.py": ""}
    for name, source in (rooms | files).items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((head if name in files else DOC) + source)
    return package


@pytest.mark.parametrize("fault", BAD_HOUSES)
def test_a_fault_is_found_and_nothing_else(tmp_path, fault):
    files, said = BAD_HOUSES[fault]
    found = problems(build(tmp_path, files))
    assert any(problem.startswith(said) for problem in found), found
    assert len({problem.partition(":")[0] for problem in found}) == 1, found


def test_a_missing_docstring_is_found(tmp_path):
    for head in ("x = 1\n", "# comment\n" + DOC):
        (problem,) = problems(build(tmp_path, {"arrays.py": "y = 2"}, head=head))
        assert problem == "arrays: expected the module's docstring in the first line"


def test_a_good_house_has_no_problems(tmp_path):
    files = {
        "codecs/a.py": "from fedcomp.arrays import x\nfrom . import b",
        "codecs/b.py": "",
        "arrays.py": "import fedcomp.errors",
        "errors.py": "",
        "flower/client.py": "from flwr.app import Context\nfrom fedcomp.training import x\nimport torch",
        "training/a.py": "import opacus, torch",
        "crypto/a.py": "from cryptography import x",
        "plan.py": "from fedcomp import training, order",
        "order.py": "",
    }
    assert problems(build(tmp_path, files)) == []
