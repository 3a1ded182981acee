"""Programs of ours that run in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar


class InThread:
    """A program that runs until it is stopped.

    Args:
        work: runs it; takes the event that stops it, and whom to tell the URL when it is ready.
    """

    def __init__(self, work: Callable[..., object]) -> None:
        self.stop, self.ready = threading.Event(), threading.Event()
        self.url: str | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(work,))

    def _run(self, work: Callable[..., object]) -> None:
        try:
            work(stop=self.stop, on_ready=self._on_ready)
        except BaseException as error:
            # Raised in the thread of the test, by `working`.
            self.error = error
        finally:
            self.ready.set()

    def _on_ready(self, url: str | None) -> None:
        self.url = url
        self.ready.set()


Program = TypeVar("Program", bound=InThread)


@contextmanager
def working(program: Program, name: str, *, wait: bool = True) -> Iterator[Program]:
    """Run a program while the block runs; its error is raised at the end."""
    program.thread.start()
    try:
        if wait:
            assert program.ready.wait(60), f"{name} never became ready"
            if program.error:
                raise program.error
        yield program
    finally:
        program.stop.set()
        program.thread.join(60)
    assert not program.thread.is_alive()
    if program.error:
        raise program.error
