"""What a child process may see of our environment.

The training process gets an allow-list: no credentials, no proxies, no hub. Nothing here decides
anything; it hands on.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence

_MAY_PASS = (
    "PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT",
    "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR",
)  # fmt: skip
_MAY_PASS_BY_PREFIX = ("LC_", "CUDA_", "NVIDIA_", "OMP_", "GOMP_", "MKL_", "ROCR_", "HIP_")

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # what makes CUDA's matrix products repeatable
    "PYTHONUNBUFFERED": "1",
}

# How many rounds a thread of GNU's OpenMP spins for the others before it sleeps. Its 300,000 keep a core from
# the very thread that is waited for as soon as other programs want cores, too: small steps then took up to
# fifteen times as long. A few thousand cost nothing to speak of on an idle machine, and change no bit of what
# is computed (`benchmarks/shared_cores.py`).
_SPIN = {"GOMP_SPINCOUNT": "2000"}


def spin_briefly() -> None:
    """Let threads of this process wait for each other in a way that leaves the cores to others.

    Heard only before torch is first imported; whoever set a policy of their own keeps it.
    """
    os.environ.update(_spinning())


def _spinning() -> dict[str, str]:
    asked = any(name in os.environ for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"))
    return {} if asked else _SPIN


def for_training(gpus: Sequence[str] = ()) -> dict[str, str]:
    """The environment of the training process: offline, without telemetry, without secrets.

    Args:
        gpus: numbers of the GPUs it may see; empty leaves it as it is.
    """
    ours = {
        name: value
        for name, value in os.environ.items()
        if name in _MAY_PASS or name.startswith(_MAY_PASS_BY_PREFIX)
    }
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    return {**ours, **_spinning(), **OFFLINE, **seen}


def for_ranks() -> dict[str, str]:
    """That of several that train together: ours, and their traffic never leaves this machine."""
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    return {**os.environ, "GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}


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


def gpu_cards() -> list[tuple[str, float]]:
    """Name and memory in GiB of each GPU of this machine, in its own order; none where no driver answers."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(
            query, capture_output=True, text=True, timeout=10, check=True
        ).stdout.splitlines()
        cards = [line.rsplit(",", 1) for line in lines if line.strip()]
        return [(name.strip(), float(memory) / 1024) for name, memory in cards]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def gpu_numbers() -> tuple[str, ...]:
    """The GPUs this process may use, as CUDA names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(number.strip() for number in visible.split(",") if number.strip() not in ("", "-1"))
    return tuple(str(number) for number in range(len(gpu_cards())))
