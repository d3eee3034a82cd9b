"""What the backends' tests share."""

from tests.backends.sandboxes import sandbox

__all__ = ["sandbox"]
