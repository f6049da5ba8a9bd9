"""A process that charges rounds to a ledger and says so on its standard output; killed by the tests, or by itself.

python ledger_process.py PATH SUBJECT FIRST LAST [half|fsync AT]
"""

import os
import signal
import sys
from pathlib import Path

import dp_accounting as dp

from fedcomp.privacy import FileLedger, file_ledger


def say(word):
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def write_half_and_die(path, line):
    with path.open("ab", buffering=0) as file:
        file.write(line[: len(line) // 2])
    die()


def main(path, subject, first, last, how="", at="0"):
    ledger = FileLedger(Path(path))
    say("ready")
    sys.stdin.readline()
    for server_round in range(int(first), int(last)):
        if how == "half" and server_round == int(at):
            file_ledger.append_synced = write_half_and_die
        if how == "fsync" and server_round == int(at):
            os.fsync = lambda descriptor: die()
        ledger.compose(subject, dp.GaussianDpEvent(30.0), run="run", server_round=server_round)
        say(server_round)


if __name__ == "__main__":
    main(*sys.argv[1:])
