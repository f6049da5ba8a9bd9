"""A process that charges rounds to a ledger, commits them, and says so; killed by the tests, or by itself.

python ledger_process.py PATH SUBJECT FIRST LAST [half|fsync intent|commit AT]

It says ``N`` once round N is charged, and ``N.`` once it is committed. The key is ``ledger.key`` beside the ledger.
"""

import os
import signal
import sys
from pathlib import Path

import dp_accounting as dp

from fedcomp.crypto import SigningKey
from fedcomp.privacy import FileLedger, chain_file


def say(word):
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def write_half_and_die(path, line):
    with path.open("ab", buffering=0) as file:
        file.write(line[: len(line) // 2])
    die()


def arm(how):
    if how == "half":
        chain_file.append_synced = write_half_and_die
    if how == "fsync":
        os.fsync = lambda descriptor: die()


def main(path, subject, first, last, how="", phase="", at="0"):
    ledger = FileLedger(Path(path), SigningKey.load(Path(path).with_name("ledger.key")))
    say("ready")
    sys.stdin.readline()
    for server_round in range(int(first), int(last)):
        now = how if server_round == int(at) else ""
        arm(now if phase == "intent" else "")
        entry = ledger.compose(subject, dp.GaussianDpEvent(30.0), run="run", server_round=server_round)
        say(server_round)
        arm(now if phase == "commit" else "")
        ledger.commit(entry, f"{server_round:064x}")
        say(f"{server_round}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
