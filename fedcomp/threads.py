"""How many threads torch uses: one, where a result must repeat or the machine is shared."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch on one thread, and give the process its number of threads back at the end.

    Sums in another order differ in the last bit, so only a fixed number of threads makes a run repeatable. It is also
    what small models want: on a shared machine threads that wait for each other by spinning cost eight times the time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
