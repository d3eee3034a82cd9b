"""Base models on this machine: where they are, how large, and what is wrong with them.

A model is found, in this order: the embedded demonstration model, a folder, the Hugging Face cache.
Everything after this works on a folder. No network but in `fetch`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from backends.local import base_model
from gateway.core.errors import NotFound, Unavailable, Unreachable, Unsupported
from gateway.core.facts import ModelShape

_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt")
_NEVER = ("original/*", "*.bin", "*.pt", "*.pth", "*.pkl", "onnx/*")


def locate(id: str, home: Path) -> Path | None:
    """The folder of a model at hand; None when it is not on this machine (or not built yet)."""
    if id == base_model.NAME:
        return base_model.folder(home) if base_model.is_built(home) else None
    folder = Path(id).expanduser()
    if (folder / "config.json").is_file():
        return folder.absolute()
    return _cached(id)


def absent(id: str, home: Path) -> str | None:
    """Why a model cannot be loaded here now, and what brings it; None when it can. The embedded
    model is never absent: it is built on first use."""
    if id == base_model.NAME:
        return None
    folder = locate(id, home)
    if folder is None and _is_path(id):
        return (
            "there is no model in this folder (no config.json); a relative folder is meant from where "
            "the command runs, not from where the spec is"
        )
    if folder is None:
        return f"its weights are not on this machine; `tunegate models fetch {id}` brings them"
    if not any(folder.glob("*.safetensors")):
        return (
            "it has no safetensors weights, and weights in pickle files can run code when they are "
            "read; take a revision that has safetensors, or convert it elsewhere"
        )
    return None


def ensure(id: str, home: Path, on_progress: Callable[[float], None] | None = None) -> Path:
    """The folder of a model that can be loaded; builds the embedded one (under a minute, once).

    Raises:
        Unavailable: the weights are not on this machine.
        Unsupported: there are weights, in pickle files only.
    """
    if id == base_model.NAME:
        return base_model.ensure(home, on_progress)
    folder = locate(id, home)
    why = absent(id, home)
    if folder is None:
        fix = "name the model's folder" if _is_path(id) else f"tunegate models fetch {id}"
        raise Unavailable(why or "", place=id, fix=fix)
    if why:
        raise Unsupported(why, place=id)
    return folder


def tokenizer_folder(id: str, home: Path) -> Path | None:
    """Where the model's tokenizer is; None when it is not on this machine."""
    return base_model.ensure_tokenizer(home) if id == base_model.NAME else locate(id, home)


def shape(id: str, home: Path) -> ModelShape | None:
    """The model's sizes from its `config.json`; None when that is not at hand."""
    if id == base_model.NAME:
        return shape_of(base_model.config())
    folder = locate(id, home)
    if folder is None:
        return None
    return shape_of(text_config(folder))


def shape_of(config: Mapping[str, Any]) -> ModelShape | None:
    """Sizes from the keys that decoders' configs share; None when one of them is missing."""
    try:
        hidden, layers, heads = (
            config["hidden_size"],
            config["num_hidden_layers"],
            config["num_attention_heads"],
        )
        vocabulary, intermediate = config["vocab_size"], config["intermediate_size"]
    except KeyError:
        return None
    experts = config.get("num_local_experts") or config.get("num_experts") or 1
    tied = bool(config.get("tie_word_embeddings", False))
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or hidden // heads
    intermediate = config.get("moe_intermediate_size") or intermediate
    attention = 2 * hidden * head_dim * (heads + kv_heads)
    feed_forward = 3 * hidden * intermediate * experts + (hidden * experts if experts > 1 else 0)
    embeddings = vocabulary * hidden * (1 if tied else 2)
    return ModelShape(
        parameters=embeddings + layers * (attention + feed_forward + 2 * hidden) + hidden,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=intermediate,
        vocabulary=vocabulary,
        max_positions=config.get("max_position_embeddings", 2048),
        tied_embeddings=tied,
        experts=experts,
        active_experts=config.get("num_experts_per_tok") or 1,
    )


@cache
def revision(folder: Path) -> str:
    """What names exactly these weights: the hub's commit, else a SHA-256 over config and weights."""
    if folder.parent.name == "snapshots":
        return folder.name
    digest = hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"


def base_of(adapter: Path) -> str:
    """The base model an adapter was trained on: an id or folder for `ensure`.

    Raises:
        NotFound: there is no adapter in this folder.
    """
    for name in ("tunegate.json", "adapter_config.json"):
        try:
            values = json.loads((adapter / name).read_bytes())
        except (OSError, ValueError):
            continue
        return str(values["model"]["id"] if "model" in values else values["base_model_name_or_path"])
    raise NotFound("there is no adapter in this folder", backend="local", place=str(adapter))


def fetch(id: str) -> Path:
    """Bring a model from the Hugging Face hub into its cache: safetensors, config and tokenizer only.

    Raises:
        Unreachable: no answer from the hub, or this process was told to stay offline.
        Unavailable: the hub has no such model, wants a login for it, or has only pickle weights.
    """
    from huggingface_hub import (
        is_offline_mode,
        snapshot_download,  # pyright: ignore[reportUnknownVariableType]
    )
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        folder = Path(snapshot_download(id, allow_patterns=list(_FILES), ignore_patterns=list(_NEVER)))
    except OfflineModeIsEnabled:
        raise _offline(id) from None
    except LocalEntryNotFoundError:  # what the cache has not, and the hub was not asked or did not answer
        raise (_offline(id) if is_offline_mode() else _no_answer(id)) from None
    except GatedRepoError:
        raise Unavailable(
            "its owner asks for a licence to be accepted first",
            place=id,
            fix="accept it on the model's page, then `hf auth login`",
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise Unavailable("the hub has no public model of this name", place=id) from None
    except (HfHubHTTPError, OSError) as error:
        raise _no_answer(id, f": {type(error).__name__}") from None
    if not any(folder.glob("*.safetensors")):
        raise Unavailable("it has no safetensors weights; pickle files are never read", place=id)
    return folder


def _offline(id: str) -> Unreachable:
    return Unreachable(
        "offline mode is set", backend="local", place=id, fix="unset HF_HUB_OFFLINE to fetch it"
    )


def _no_answer(id: str, how: str = "") -> Unreachable:
    return Unreachable(
        f"the hub did not give it{how}",
        backend="local",
        place=id,
        retryable=True,
        fix="look at the network, and try again",
    )


def _is_path(id: str) -> bool:
    """Whether this cannot be a hub's id."""
    return id.startswith(("/", "./", "../", "~"))


def _cached(id: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(id, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def text_config(folder: Path) -> dict[str, Any]:
    """The decoder's part of a `config.json`; models that also see keep it apart."""
    config = cast("dict[str, Any]", json.loads((folder / "config.json").read_bytes()))
    return config.get("text_config", config)
