"""What a process of ours must not leave behind."""

from __future__ import annotations

import contextlib


def no_core_dumps() -> None:
    """No image of this process's memory, nor of its children's, is written when it crashes: it would hold
    rows. A no-op where the system has no such limit."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
