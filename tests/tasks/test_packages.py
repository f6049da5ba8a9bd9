import subprocess
import sys

import pytest

from fedcomp.errors import DataError
from fedcomp.tasks import packages
from fedcomp.tasks.packages import run_command


def test_a_command_runs_where_it_is_told_and_has_nothing_to_read(tmp_path):
    run_command([sys.executable, "-c", "import sys; open('said', 'w').write(sys.stdin.read() or 'nothing')"], tmp_path)
    assert (tmp_path / "said").read_text() == "nothing"


def test_a_command_that_fails_is_named_with_its_last_line(tmp_path):
    with pytest.raises(DataError, match="failed with exit code 3: second"):
        run_command([sys.executable, "-c", "import sys; print('first\\nsecond'); sys.exit(3)"], tmp_path)


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="needs no-such-program, which this machine lacks"):
        run_command(["no-such-program", "download"], tmp_path)


def test_a_command_that_does_not_end_is_given_up(tmp_path, monkeypatch):
    def late(words, **options):
        raise subprocess.TimeoutExpired(words, options["timeout"])

    monkeypatch.setattr(packages.subprocess, "run", late)
    with pytest.raises(DataError, match="`apt-get update` did not end within 600 s"):
        run_command(["apt-get", "update"], tmp_path)
