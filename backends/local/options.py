"""`options.local`: how this machine sees a run through. Everything about learning itself is elsewhere
in a spec; of these only the two on validation can change a result."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backends.ledger import Ledger
from gateway.core.spec import JobSpec


class LocalOptions(BaseModel):
    """`options.local`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    validate_every: int | None = Field(
        None, ge=1, description="optimizer steps from one validation to the next; else one epoch"
    )
    early_stopping: int = Field(
        2,
        ge=0,
        le=1000,
        description="validations in a row without a better loss that end training; 0: none do",
    )
    checkpoint_every: int | None = Field(
        None, ge=1, description="optimizer steps from one checkpoint to the next; else a tenth of the run"
    )
    keep_checkpoints: int = Field(2, ge=1, le=1000, description="latest checkpoints kept, besides the best")
    processes: int | None = Field(
        None, ge=1, le=64, description="processes that train together, one for each GPU; else as many as fit"
    )
    sharded: bool | None = Field(
        None,
        description="each process holds a part of the weights (FSDP), not all; else where only that fits",
    )


def read(spec: JobSpec, backend: str, ledger: Ledger) -> LocalOptions:
    """The options of a spec, accounted for; one that there is not is refused."""
    given: dict[str, Any] = dict(spec.options.get(backend, {}))
    for name in given.keys() - LocalOptions.model_fields.keys():
        ledger.refused(f"options.{backend}.{name}", "the local runner has no such option")
        del given[name]
    if given.get("sharded") and spec.method == "qlora":
        ledger.refused(f"options.{backend}.sharded", "4-bit weights are not divided over processes")
    if given:
        ledger.kept(f"options.{backend}")
    return LocalOptions.model_validate(given)
