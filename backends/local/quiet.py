"""What libraries warn of, and nobody who trains or asks can act on."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def while_peft_wraps() -> Generator[None]:
    """Around making a `PeftModel`: PEFT (0.21, the latest) asks transformers whether gradients are
    checkpointed by a name that transformers 5 has deprecated. Every other warning is shown."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        yield
