"""What befalls files, done for real: kills in the middle of writing, disks that are full, forged signatures."""

import contextlib
import os
import resource
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """No file may grow past ``size``: the kernel writes what fits and then fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def killed_while(step: Callable[[int], object], seconds: float, first: int = 0) -> int:
    """Do step ``first``, ``first + 1``, ... in a child process, and kill it ``seconds`` after the first one was done.

    Returns:
        The number of the last step that was done for certain; the next one may have been done, or half of it.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            while True:
                step(first)
                os.write(writing, struct.pack("<I", first))
                first += 1
        os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        done = pipe.read(4)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)[1]
        while more := pipe.read(4096):
            done += more
    if not done or not os.WIFSIGNALED(ended):
        raise AssertionError("the child failed by itself")
    return int(struct.unpack_from("<I", done, len(done) - 4)[0])


def in_children(*works: Callable[[], object]) -> None:
    """Run all the works at the same time, each in a process of its own; a failure of one is raised."""
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                work()
                status = 0
            os._exit(status)
        children.append(child)
    failed = [child for child in children if os.waitpid(child, 0)[1] != 0]
    if failed:
        raise AssertionError(f"{len(failed)} of {len(works)} processes failed")


def flipped(path: Path) -> Iterator[int]:
    """Flip one bit of each byte of a file in turn, in place, yield where, and flip it back."""
    good = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for at, byte in enumerate(good):
            for value in (byte ^ 0x01, byte):
                file.seek(at)
                file.write(bytes([value]))
                if value != byte:
                    yield at


class SignsAs:
    """Names one key and signs with another."""

    def __init__(self, public, signer):
        self.public, self._signer = public, signer

    def sign(self, content):
        return self._signer.sign(content)

    def verify(self, signature, content):
        return self._signer.verify(signature, content)
