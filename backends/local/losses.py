"""Cross-entropy over the trained positions."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy


def token_losses(logits_N_V: Tensor, labels_N: Tensor) -> Tensor:
    """Negative log-probability in nats of each label, in fp32, shape N."""
    return cross_entropy(logits_N_V.float(), labels_N, reduction="none")
