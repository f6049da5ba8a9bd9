"""The README's own code and commands do what it says."""

import json
import re
import subprocess
import sys
from pathlib import Path

from fedcomp.codecs import describe_codecs

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_a_users_own_task_runs(tmp_path):
    (task,) = [block for block in blocks("python") if "ArrayTask" in block]
    assert len(task.splitlines()) <= 30
    (tmp_path / "mytask.py").write_text(task)
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\ntask = "mytask:task"\nrounds = 3\nuplink = [{ id = "topk", density = 0.2 }, { id = "rans" }]\n'
        "[data]\npublic_examples = 200\n[clients]\npopulation = 4\n[training]\nlearning_rate = 0.5\n"
        "[student]\nepochs = 2\n"
    )
    command = [sys.executable, "-m", "fedcomp", "simulate", "mine.toml", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout)
    assert summary["task"] == "mytask:task"
    assert summary["accuracy"]["global"] > 0.8


def test_the_python_example_runs(tmp_path):
    (example,) = [block for block in blocks("python") if "fedcomp.simulate(" in block]
    example = example.replace('"configs/digits.toml", {"rounds": 5}', f'"{ROOT}/configs/digits.toml", {SHORT}')
    assert SHORT in example
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "epsilon = " in done.stdout


SHORT = '{"rounds": 2, "privacy.noise_multiplier": 2.0, "student.epochs": 1}'


def test_every_command_in_the_readme_exists():
    commands = set(re.findall(r"^fedcomp (\w+)", "\n".join(blocks("sh")), flags=re.MULTILINE))
    assert commands >= {"plan", "simulate", "resume", "report", "export"}
    helped = subprocess.run([sys.executable, "-m", "fedcomp", "--help"], capture_output=True, text=True, check=True)
    assert all(command in helped.stdout for command in commands)


def test_every_file_that_the_readme_links_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links), links


def test_the_menu_in_the_documents_is_that_of_the_registry():
    page = (ROOT / "docs" / "codecs.md").read_text()
    for info in describe_codecs():
        bias = "biased" if info.biased else "unbiased"
        row = f"| `{info.id}` | {info.summary.rstrip('.')} | {bias} | {info.bound} | {', '.join(info.modes)} |"
        assert row in page, f"docs/codecs.md: expected the row {row}"
