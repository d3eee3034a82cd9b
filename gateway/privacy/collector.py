"""Python's collector of garbage, kept from going through what is surely none."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Generator[None]:
    """For what makes a great many small things that all go, or all stay, at its end: to look for garbage
    among a thousand records is a fifth of their scan, and among the list of cities a third of reading it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
