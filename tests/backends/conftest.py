"""What the backends' tests share."""

from tests.backends.openai_described import description
from tests.backends.sandboxes import sandbox

__all__ = ["description", "sandbox"]
