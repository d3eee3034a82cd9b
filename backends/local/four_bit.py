"""A base in 4 bits: NF4 with its constants quantised again, as QLoRA trains on it and its adapters answer."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from gateway.core.errors import Unsupported

NOTE: Mapping[str, Any] = {"kind": "nf4", "double": True}  # what an adapter's note says of its base


def settings(dtype: Any, device: Any) -> dict[str, Any]:
    """What `from_pretrained` is told, to round a base's linear layers while it reads them.

    Args:
        dtype: that the 4 bits are made into for each product.

    Raises:
        Unsupported: bitsandbytes is not installed, or has no kernels for this machine.
    """
    try:
        with nothing_fetched():
            import bitsandbytes as _  # noqa: F401  # pyright: ignore[reportMissingTypeStubs]
        from transformers import BitsAndBytesConfig

        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=NOTE["kind"],
            bnb_4bit_use_double_quant=NOTE["double"],
            bnb_4bit_compute_dtype=dtype,
        )
    except (ImportError, OSError, RuntimeError):
        raise Unsupported(
            "a base in 4 bits needs bitsandbytes", place="local", fix="pip install 'tunegate[local]'"
        ) from None
    return {"quantization_config": config, "device_map": {"": device}}


def settle(model: Any) -> Any:
    """Keep the 4 bits as they are stored.

    On CPUs that compute in bf16, bitsandbytes lays a layer's weights out anew at the first product in
    eval mode, for inference: with coarser constants, only where rows divide by 32, and without a way
    back that training could use. A validation in between would change the base.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


@contextmanager
def nothing_fetched() -> Generator[None]:
    """Around whatever imports bitsandbytes, as PEFT does: on such a CPU that would bring a compiled kernel
    from a hub, if the package for that is installed. No code is fetched here; it has kernels of its own."""
    absent = object()
    before = sys.modules.get("kernels", absent)
    log = logging.getLogger("bitsandbytes")
    level = log.level
    sys.modules["kernels"] = None  # pyright: ignore[reportArgumentType]  the documented way to forbid an import
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        if before is absent:
            del sys.modules["kernels"]
        else:
            sys.modules["kernels"] = before  # pyright: ignore[reportArgumentType]
