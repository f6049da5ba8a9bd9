"""Peak memory, with processes that are not children."""

import json
import subprocess
import sys

# a small process whose grandchild fills 200 MB and waits; what it prints is its peak before, during and after
PROGRAM = """
import json, os, signal, subprocess, sys
from fedcomp.memory import peak_memory_mb

filling = "block = b'x' * (200 << 20); print('full', flush=True); input()"
child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {filling!r}])"
before = peak_memory_mb()
process = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
process.stdout.readline()
during = peak_memory_mb()
process.communicate(b"\\n")
print(json.dumps([before, during, peak_memory_mb()]))
"""


def test_a_grandchild_that_lives_is_measured_and_who_started_us_is_not():
    ours = b"x" * (300 << 20)  # a large parent: its peak must not be taken for the small process's own
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    before, during, after = json.loads(done.stdout)
    assert 1 < before < 150
    assert 200 < during < 400
    assert after < 150, "what has ended is not there to be measured"
    assert len(ours) == 300 << 20
