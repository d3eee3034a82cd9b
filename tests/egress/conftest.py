"""What the proofs over the real rooms share with the backends' own tests."""

from tests.backends.sandboxes import sandbox

__all__ = ["sandbox"]
