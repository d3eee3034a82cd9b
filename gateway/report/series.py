"""What the charts show, as numbers: one series per choice a manager could make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from gateway.core.estimate import Alternative, Estimate, LineItem, Range
from gateway.core.plan import Candidate, Plan, Verdict

Kind = Literal["managed", "self-hosted", "incumbent"]
_TRAINING = ("training", "validation", "GPU start-up (assumed)", "failed runs (assumed)")
_ROUNDED_UP = "billed by the "  # … second, minute, hour: what is on the bill beyond the hours of training
_BY_TOKEN = ("inference input", "inference output")
_MOST_MANAGED, _MOST_HOSTED = 4, 3
# Kinds of GPU people ask about, shown beside the cheapest wherever they hold the model.
ALWAYS = ("L4", "A100-80GB", "H100")


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice over the horizon.

    Attributes:
        label: short, for the end of a line; `note` says what stands in the way of it, if anything.
        start: USD paid once; `month` USD a month at the planned traffic.
        by_token: share of `month`'s likely value that follows the traffic (0 to 1).
        lines: name → likely USD over the horizon.
    """

    kind: Kind
    label: str
    note: str
    start: Range
    month: Range
    by_token: float
    lines: dict[str, Decimal]

    def total(self, months: int) -> Decimal:
        return self.start.likely + self.month.likely * months


def choices(plan: Plan, months: int) -> tuple[Choice, ...]:
    """The cheapest managed candidates, the cheapest self-hosted and the usual ones, and what is in use."""
    comparison = plan.comparison
    if comparison is None:
        return ()
    by_name = {str(each.key): each for each in plan.candidates}
    found = [_managed(by_name[name], months) for name in comparison.managed[:_MOST_MANAGED]]
    found += [_hosted(each, months) for each in shown(comparison.alternatives)]
    if now := comparison.incumbent:
        month = Range.exactly(now.monthly_usd)
        lines = {"inference of the model in use": now.total_usd}
        label = f"{now.model} (in use today)"
        found.append(Choice("incumbent", label, "", Range.exactly(Decimal(0)), month, 1.0, lines))
    return tuple(found)


def shown(alternatives: Sequence[Alternative]) -> list[Alternative]:
    """The cheapest few, and those people ask about by name; in order of cost."""
    return [each for place, each in enumerate(alternatives) if place < _MOST_HOSTED or each.gpu in ALWAYS]


def _managed(candidate: Candidate, months: int) -> Choice:
    key = candidate.key
    note = "" if candidate.verdict is Verdict.ALLOWED else str(candidate.verdict)
    return _choice("managed", f"{key.backend} {key.model}", note, candidate.estimate, months)


def _hosted(option: Alternative, months: int) -> Choice:
    return _choice("self-hosted", f"{option.model} on {option.gpu}", option.unit, option.estimate, months)


def is_once(line: LineItem) -> bool:
    """Whether a line is paid for the training, not for every month."""
    return line.name in _TRAINING or line.name.startswith(_ROUNDED_UP)


def _choice(kind: Kind, label: str, note: str, estimate: Estimate, months: int) -> Choice:
    zero = Range.exactly(Decimal(0))
    start, total = estimate.training_usd or zero, estimate.total_usd or zero
    month = Range(
        (total.low - start.low) / months,
        (total.likely - start.likely) / months,
        (total.high - start.high) / months,
    )
    by_token = sum((line.usd.likely for line in estimate.lines if line.name in _BY_TOKEN), Decimal(0))
    share = float(by_token / months / month.likely) if month.likely else 0.0
    lines: dict[str, Decimal] = {}
    for line in estimate.lines:
        name = "training" if is_once(line) else line.name
        lines[name] = lines.get(name, Decimal(0)) + line.usd.likely
    return Choice(kind, label, note, start, month, share, lines)
