"""What a child process may see of our environment.

The training process gets an allow-list: no credentials, no proxies, no hub. Nothing here decides
anything; it hands on.
"""

from __future__ import annotations

import os

_MAY_PASS = (
    "PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT",
    "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR",
)  # fmt: skip
_MAY_PASS_BY_PREFIX = ("LC_", "CUDA_", "NVIDIA_", "OMP_", "MKL_", "ROCR_", "HIP_")

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # what makes CUDA's matrix products repeatable
    "PYTHONUNBUFFERED": "1",
}


def for_training() -> dict[str, str]:
    """The environment of the training process: offline, without telemetry, without secrets."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if name in _MAY_PASS or name.startswith(_MAY_PASS_BY_PREFIX)
    }
    return {**ours, **OFFLINE}


def for_supervisor() -> dict[str, str]:
    """The supervisor's: all of ours, because the evaluation step it starts is the gateway again."""
    return dict(os.environ)


def cpu_threads() -> int:
    """Cores this process may use, or what `OMP_NUM_THREADS` says."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
