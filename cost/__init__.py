"""What a job costs, how long it takes, and whether it fits.

book = PriceBook({"nova-cloud": facts})
estimate(book, key, facts.kind, usage, spec.serving, on)     # named line items and their sums
fit(spec, shape, machine, tokens, rows=800, epochs=3, batch_size=8)   # memory, settings and hours
"""

from __future__ import annotations

from cost.accuracy import Accuracy, Outcome, accuracy
from cost.breakeven import BreakEven, Managed, break_even, managed, sensitivity
from cost.catalogue import BasePrice, base_price
from cost.entered import Discount, Entered, Override, entered_from
from cost.estimate import OWN_HARDWARE, Priced, Usage, cents, estimate
from cost.fit import Together, fit
from cost.gpus import Catalogue, Gpu, Rental, load_gpus
from cost.prices import PriceBook, Quote
from cost.probing import Measured, Probes
from cost.project import Project, project_from
from cost.selfhosted import SelfHosted, self_hosted
from cost.serving import Capacity, capacity
from cost.smaller import smallest_change

__all__ = [
    "OWN_HARDWARE",
    "Accuracy",
    "BasePrice",
    "BreakEven",
    "Capacity",
    "Catalogue",
    "Discount",
    "Entered",
    "Gpu",
    "Managed",
    "Measured",
    "Outcome",
    "Override",
    "PriceBook",
    "Priced",
    "Probes",
    "Project",
    "Quote",
    "Rental",
    "SelfHosted",
    "Together",
    "Usage",
    "accuracy",
    "base_price",
    "break_even",
    "capacity",
    "cents",
    "entered_from",
    "estimate",
    "fit",
    "load_gpus",
    "managed",
    "project_from",
    "self_hosted",
    "sensitivity",
    "smallest_change",
]
