"""Self-hosted: what training and serving an open model would cost on GPUs that one rents.

GPUs are priced in the units one can rent: an instance with all its GPUs is paid whole (fully loaded),
whatever share of it the model uses (marginal). Serving keeps units running all month, because answers are
wanted at once; traffic comes in waves, so that a unit is busy for a share of its hours alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from cost.estimate import cents, total
from cost.fit import fit
from cost.gpus import Billing, Catalogue, Gpu, Rental
from cost.prices import LOW_CONFIDENCE_BAND
from cost.serving import busy_hours, capacity
from gateway.core.estimate import HOURS_PER_MONTH, Estimate, LineItem, Range
from gateway.core.facts import Confidence, ModelShape
from gateway.core.plan import Fit, Machine
from gateway.core.rows import TokenStats
from gateway.core.spec import JobSpec, Serving

# Assumptions, each a line of its own in every estimate: nobody publishes them.
BUSY_SHARE = 0.30  # of a unit's hours that traffic in waves can fill; see `sensitivity`
START_UP = Range(Decimal("0.08"), Decimal("0.25"), Decimal("0.50"))  # hours until a rented machine trains
FAILED = Range(Decimal("0"), Decimal("0.15"), Decimal("0.50"))  # of the training hours, run in vain
_HOST_MEMORY_GIB = 64.0
_WHOLE_HOURS = 3600  # seconds; what is billed by where nobody says it: the dearest practice there is


@dataclass(frozen=True, slots=True)
class SelfHosted:
    """One open model, trained and served on one kind of unit.

    Attributes:
        method: how it would be trained there: as asked, or with QLoRA where that alone fits.
        gpus: GPUs of the unit that the model uses.
        units: kept running for the traffic.
        busy_h: hours of a month in which one unit alone would work on the traffic; likely case.
        loaded: the whole unit paid.
        marginal: the used share of its GPUs paid, for whoever fills the rest with other work.
    """

    model: str
    rental: Rental
    method: str
    gpus: int
    lies: Fit
    units: int
    busy_h: float
    loaded: Estimate
    marginal: Estimate

    @property
    def name(self) -> str:
        return f"{self.rental.gpu} · {self.rental.provider} {self.rental.unit}"

    @property
    def carries(self) -> float:
        """How many times the planned traffic one unit can carry."""
        return float(HOURS_PER_MONTH) * BUSY_SHARE / self.busy_h if self.busy_h else 0.0

    def monthly_usd(self, traffic: float, busy_share: float = BUSY_SHARE) -> Decimal:
        """A month of serving so many times the planned traffic."""
        return units_for(self.busy_h * traffic, busy_share) * HOURS_PER_MONTH * self.rental.usd_per_hour


def units_for(busy_h: float, busy_share: float = BUSY_SHARE) -> int:
    """Units that must run so that each works no more than its share of the hours; at least one."""
    return max(1, math.ceil(busy_h / (float(HOURS_PER_MONTH) * busy_share)))


def self_hosted(
    spec: JobSpec,
    model: str,
    shape: ModelShape,
    tokens: TokenStats,
    catalogue: Catalogue,
    *,
    rows: int,
    epochs: int,
    batch_size: int,
) -> tuple[SelfHosted, ...]:
    """The model on the cheapest unit of every kind of GPU that holds it, the cheapest over the horizon
    first; empty without `serving`.

    Args:
        tokens: counts of the data, by this model's tokenizer or the nearest there is.
        rows: rows of the training split.
    """
    serving = spec.serving
    if serving is None:
        return ()
    found: list[SelfHosted] = []
    for rental in _cheapest(catalogue.rentals):
        gpu = catalogue.gpu(rental.gpu)
        if gpu is None:
            continue
        trained = _trains(spec, shape, gpu, tokens, rows=rows, epochs=epochs, batch_size=batch_size)
        needed = _gpus_to_serve(shape, gpu, rental.gpus)
        if trained is not None and needed is not None:
            found.append(_priced(model, rental, trained, shape, gpu, needed, serving))
    return tuple(sorted(found, key=_over_horizon))


def _cheapest(rentals: Iterable[Rental]) -> Sequence[Rental]:
    """The cheapest unit of every kind of GPU, by the unit: what one must pay at least."""
    best: dict[str, Rental] = {}
    for rental in rentals:
        if rental.source.confidence.usable:
            known = best.get(rental.gpu)
            if known is None or rental.usd_per_hour < known.usd_per_hour:
                best[rental.gpu] = rental
    return tuple(best.values())


def _trains(
    spec: JobSpec,
    shape: ModelShape,
    gpu: Gpu,
    tokens: TokenStats,
    *,
    rows: int,
    epochs: int,
    batch_size: int,
) -> tuple[str, Fit] | None:
    """How training fits on one GPU of the kind: as asked, else with a 4-bit base; None where not at all."""
    machine = Machine(gpu.name, gpu.name, 1, gpu.memory_gib, 8, _HOST_MEMORY_GIB)
    for method in dict.fromkeys((spec.method, "qlora")):
        tried = spec.model_copy(update={"method": method})
        lies = fit(tried, shape, machine, tokens, rows=rows, epochs=epochs, batch_size=batch_size)
        if lies.fits:
            return str(lies.choices["method"][0]), lies
    return None


def _gpus_to_serve(shape: ModelShape, gpu: Gpu, most: int) -> int | None:
    return next((count for count in (1, 2, 4, 8) if count <= most and capacity(shape, gpu, count)), None)


def _priced(
    model: str,
    rental: Rental,
    trained: tuple[str, Fit],
    shape: ModelShape,
    gpu: Gpu,
    gpus: int,
    serving: Serving,
) -> SelfHosted:
    method, lies = trained
    serves = capacity(shape, gpu, gpus)
    assert serves is not None  # noqa: S101  # `_gpus_to_serve` asked the same
    replicas = rental.gpus // gpus
    per_replica = busy_hours(serves, serving.input_tokens_per_month, serving.output_tokens_per_month)
    low, likely, high = (hours / replicas for hours in per_replica)
    units = Range(*(Decimal(units_for(hours)) for hours in (low, likely, high)))
    share = Decimal(gpus) / rental.gpus
    return SelfHosted(
        model=model,
        rental=rental,
        method=method,
        gpus=gpus,
        lies=lies,
        units=int(units.likely),
        busy_h=likely,
        loaded=_estimate(rental, rental.usd_per_hour, lies.hours, units, serving),
        marginal=_estimate(rental, rental.usd_per_hour * share, lies.hours, units, serving),
    )


def _estimate(rental: Rental, hourly: Decimal, hours: Range, units: Range, serving: Serving) -> Estimate:
    """Training once, and units running for the whole horizon; every assumption a line of its own."""
    months = serving.months * HOURS_PER_MONTH
    failed = Range(hours.low * FAILED.low, hours.likely * FAILED.likely, hours.high * FAILED.high)
    running = Range(units.low * months, units.likely * months, units.high * months)
    training = [
        _hours("training", hours, hourly, rental),
        _hours("GPU start-up (assumed)", START_UP, hourly, rental),
        _hours("failed runs (assumed)", failed, hourly, rental),
    ]
    training.append(_rounded_up(hours + START_UP + failed, hourly, rental))
    serves = [_hours("serving, idle hours included", running, hourly, rental)]
    trained, served = total(training), total(serves)
    monthly = cents(served.likely / serving.months)
    return Estimate(trained, monthly, trained + served, (*training, *serves))


def _hours(name: str, quantity: Range, hourly: Decimal, rental: Rental) -> LineItem:
    band = LOW_CONFIDENCE_BAND if rental.source.confidence is Confidence.LOW else Decimal(0)
    usd = Range(
        cents(quantity.low * hourly * (1 - band)),
        cents(quantity.likely * hourly),
        cents(quantity.high * hourly * (1 + band)),
    )
    return LineItem(name, quantity.likely, "hour", hourly, usd, rental.source)


def _rounded_up(used: Range, hourly: Decimal, rental: Rental) -> LineItem:
    """What is on the bill beyond the hours used, which are taken to be one rental."""
    billing = rental.billing or Billing(_WHOLE_HOURS, 0, rental.source)
    low, likely, high = (billing.billed_h(hours) - hours for hours in (used.low, used.likely, used.high))
    beyond = Range(min(low, likely, high), likely, max(low, likely, high))
    name = f"billed {billing.name}" if rental.billing else f"billed {billing.name} (assumed: not stated)"
    return replace(_hours(name, beyond, hourly, rental), source=billing.source)


def _over_horizon(option: SelfHosted) -> Decimal:
    return option.loaded.total_usd.likely if option.loaded.total_usd else Decimal("Infinity")
