"""How far a long work is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

OnProgress = Callable[[float], None]  # called with the share that is done, 0 to 1
Progress = Callable[[str, float], None]  # called with what is going on, too


def stage(on_progress: Progress, name: str, start: float = 0.0, end: float = 1.0) -> OnProgress:
    """Returns what tells the progress of one stage of a work, which leads from one share of the whole to another."""
    return lambda share: on_progress(name, start + share * (end - start))


def steps(total: int, on_progress: OnProgress) -> Iterator[None]:
    """Tells the progress each time it is asked for the next of so many steps."""
    for step in range(1, total + 1):
        on_progress(step / total)
        yield
    while True:
        yield
