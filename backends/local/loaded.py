"""Models in memory: a base is loaded once, and adapters are put beside it and taken off again.

Bounded both ways: the base used longest ago makes room for a third, the adapter used longest ago for
a ninth. Two bases are enough to compare a wholly tuned model with what it was; where training it
fitted, two that only answer fit too.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.local import four_bit, models
from backends.local.environment import cpu_threads
from backends.local.files import sha256_of
from backends.local.quiet import while_peft_wraps
from backends.local.render import Template
from backends.local.run import read_json
from gateway.core.errors import BackendError, Unsupported

MOST_BASES = 2
MOST_ADAPTERS = 8
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class Weights:
    """What a model reference means.

    Attributes:
        base: an id or folder for `models.ensure`.
        adapter: the folder of an adapter on it.
        four_bit: the base is held in 4 bits (NF4, double quantisation), as a QLoRA adapter was trained
            on it: what it was measured on is what it learned on, and it fits where training fitted.
    """

    base: str
    adapter: Path | None = None
    four_bit: bool = False


@dataclass(slots=True)
class Loaded:
    """A base in memory with its template and the adapters on it, the one used longest ago first.

    Attributes:
        positions: tokens of prompt and answer together that the model can take.
        stop_ids: tokens that end an answer: what closes a turn, and what the model calls an end.
        spoiled: an adapter could not be put on whole; what it left in the model is anybody's guess.
    """

    model: Any
    template: Template
    revision: str
    positions: int
    stop_ids: frozenset[int]
    adapters: dict[Path, str] = field(default_factory=dict[Path, str])
    spoiled: bool = False
    _named: int = 0

    @property
    def exact(self) -> bool:
        """Whether it computes in 32 bits."""
        return str(self.model.dtype) == "torch.float32"

    @contextmanager
    def wearing(self, adapter: Path | None) -> Generator[Loaded]:
        """The model with this adapter switched on, or with none.

        Raises:
            BackendError, Unsupported: as `_put_on`.
        """
        if adapter is None:
            with self.model.disable_adapter() if self.adapters else nullcontext():
                yield self
            return
        if adapter not in self.adapters:
            self._named += 1
            _put_on(self, adapter, f"adapter_{self._named}")
        name = self.adapters[adapter] = self.adapters.pop(adapter)  # used last
        while len(self.adapters) > MOST_ADAPTERS:
            self.model.delete_adapter(self.adapters.pop(next(iter(self.adapters))))
        self.model.set_adapter(name)
        yield self


class Shelf:
    """The bases in memory; loads torch on first use. Whoever uses it holds one lock: which adapter is
    on is a state of the model.

    Args:
        home: the local backend's folder, where the embedded base is kept.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._loaded: dict[tuple[str, bool], Loaded] = {}

    @property
    def held(self) -> tuple[tuple[str, bool], ...]:
        """Base and whether in 4 bits, of each in memory; the one used longest ago first."""
        return tuple(self._loaded)

    @contextmanager
    def using(self, weights: Weights) -> Generator[Loaded]:
        """A loaded base, its adapter on.

        Raises:
            Unavailable, Unsupported: the base cannot be loaded here.
            BackendError: the adapter is damaged, or of another base.
        """
        key = weights.base, weights.four_bit
        if key not in self._loaded:
            while len(self._loaded) >= MOST_BASES:
                del self._loaded[next(iter(self._loaded))]
                _release_memory()
            self._loaded[key] = load(weights, self._home)
        loaded = self._loaded[key] = self._loaded.pop(key)
        try:
            with loaded.wearing(weights.adapter):
                yield loaded
        finally:
            if loaded.spoiled:
                self._loaded.pop(key, None)


def weights_of(folder: Path) -> Weights:
    """What a run left in a folder: an adapter and the base under it, or a model of its own.

    Raises:
        NotFound: there is neither.
    """
    if (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        return Weights(str(folder))
    made: Mapping[str, Any] = read_json(folder / "tunegate.json") or {}
    return Weights(models.base_of(folder), folder, four_bit=bool(made.get("quantization")))


def untuned(folder: Path) -> Weights:
    """What was tuned to make the model in a folder, held in memory as the model itself is.

    Raises:
        NotFound: nothing here says what it was made from.
    """
    found = weights_of(folder)
    return Weights(models.base_of(folder), None, found.four_bit)


def load(weights: Weights, home: Path, *, dtype: Any = None) -> Loaded:
    """A base from its folder; no code that came with it is run, and no pickle is read.

    Args:
        dtype: of the weights; default: bf16 on a GPU, fp32 on a CPU.

    Raises:
        Unavailable, Unsupported: it is not here, or not in a form that is read.
        BackendError: a run left it here, and it has changed since.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(cpu_threads())
    disable_progress_bar()
    folder = models.ensure(weights.base, home)
    _refuse_changed_model(folder)
    template = Template.load(folder, weights.base)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = dtype or (torch.bfloat16 if device == "cuda" else torch.float32)
    model: Any = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportUnknownMemberType]
        str(folder),
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        **(four_bit.settings(dtype, device) if weights.four_bit else {}),
    )
    shape = models.shape_of(models.text_config(folder))
    return Loaded(
        (four_bit.settle(model) if weights.four_bit else model.to(device)).eval(),
        template,
        models.revision(folder),
        shape.max_positions if shape else 2048,
        frozenset({template.stop_id, *_ends(model)}),
    )


def _ends(model: Any) -> tuple[int, ...]:
    """Tokens after which the model itself has nothing more to say."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)


def _put_on(loaded: Loaded, adapter: Path, name: str) -> None:
    """Put an adapter on its base, whole.

    Raises:
        BackendError: it is damaged, or was trained on another base.
        Unsupported: its weights are in a pickle file.
    """
    from safetensors import SafetensorError

    with four_bit.nothing_fetched():
        from peft import PeftModel

    _refuse_unsound(adapter, loaded.revision)
    try:
        if loaded.adapters:
            loaded.model.load_adapter(str(adapter), adapter_name=name)
        else:
            with while_peft_wraps():
                loaded.model = PeftModel.from_pretrained(  # pyright: ignore[reportUnknownMemberType]
                    loaded.model, str(adapter), adapter_name=name
                ).eval()
        if _left_out(loaded.model, adapter, name):
            raise ValueError  # PEFT only warns of a weight that found no place, and answers without it
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError):
        loaded.spoiled = True
        raise _damaged(adapter) from None
    loaded.adapters[adapter] = name


def _left_out(model: Any, adapter: Path, name: str) -> bool:
    """Whether file and model disagree about which weights the adapter has."""
    import peft
    from safetensors import safe_open

    state_of: Any = peft.get_peft_model_state_dict  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    put: Mapping[str, Any] = state_of(model, adapter_name=name, save_embedding_layers=False)
    with safe_open(adapter / WEIGHTS, framework="pt") as file:  # pyright: ignore[reportUnknownVariableType]
        return set(file.keys()) != set(put)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def _refuse_unsound(adapter: Path, revision: str) -> None:
    made: Mapping[str, Any] = read_json(adapter / "tunegate.json") or {}
    if made.get("base", revision) != revision:
        raise BackendError("this adapter was trained on another base", backend="local", place=str(adapter))
    weights = adapter / WEIGHTS
    if not weights.is_file() and any(adapter.glob("adapter_model.*")):
        raise Unsupported(
            "this adapter's weights are in a pickle file, which can run code when it is read",
            place=str(adapter),
            fix="save it again with safe_serialization=True, where it was made",
        )
    if not weights.is_file() or made.get("adapter", found := sha256_of(weights)) != found:
        raise _damaged(adapter)


def _refuse_changed_model(folder: Path) -> None:
    """A whole model that a run left is what its note says; one from elsewhere has no note."""
    made: Mapping[str, Any] = read_json(folder / "tunegate.json") or {}
    files: Mapping[str, str] = made.get("files") or {}
    for name, expected in files.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != expected:
            raise BackendError(
                f"this model is damaged: {name} is not what was written", backend="local", place=str(folder)
            )


def _damaged(adapter: Path) -> BackendError:
    return BackendError(
        "this adapter is damaged, or was not made for its base", backend="local", place=str(adapter)
    )


def _release_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
