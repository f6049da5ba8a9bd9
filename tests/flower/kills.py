"""A run whose process dies by SIGKILL at a chosen step: in a child of this process, which needs no new imports."""

import os
import signal
from collections.abc import Callable
from typing import Any

from runs import go

from fedcomp.flower import place
from fedcomp.run_files import RunDirectory
from fedcomp.threads import single_thread

When = Callable[..., bool]


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, when: When = lambda *_, **__: True) -> Callable[[], None]:
    """Return what makes the process die before ``owner.name`` is called with arguments for which ``when`` holds."""

    def arm() -> None:
        inner = getattr(owner, name)

        def armed(*args: Any, **kwargs: Any) -> Any:
            if when(*args, **kwargs):
                die()
            return inner(*args, **kwargs)

        setattr(owner, name, armed)

    return arm


def after(owner: Any, name: str, when: When = lambda *_, **__: True) -> Callable[[], None]:
    """Return the same for right after the call."""

    def arm() -> None:
        inner = getattr(owner, name)

        def armed(*args: Any, **kwargs: Any) -> Any:
            result = inner(*args, **kwargs)
            if when(*args, **kwargs):
                die()
            return result

        setattr(owner, name, armed)

    return arm


def killed(run: RunDirectory, arm: Callable[[], None]) -> None:
    """Carry out a run in a child process that ``arm`` has prepared, and see it die by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            place._belongings.cache_clear()
            arm()
            with single_thread():  # the threads of the parent's pool are not here, and would be waited for
                go(run)
        finally:
            os._exit(3)
    ended = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(ended), f"the child ended with {ended}, it was to be killed"
    assert os.WTERMSIG(ended) == signal.SIGKILL
