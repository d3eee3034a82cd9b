"""Write `docs/costs.md`: an example worked by hand, and the figures people quote, worked out again with the
price book and the estimator. A test holds the page to what this prints.

python docs/make_costs_page.py
"""

from __future__ import annotations

import runpy
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from backends import registry
from cost import PriceBook, Usage, base_price, estimate, fit, load_gpus
from cost.gpus import Catalogue, Rental
from cost.memory import parts_gib
from cost.selfhosted import SelfHosted, self_hosted
from gateway.core.facts import Facts, ModelFacts, ModelShape, PriceLine
from gateway.core.plan import CandidateKey, Fit, Machine
from gateway.core.rows import TokenStats
from gateway.core.spec import JobSpec, Serving

PAGE = Path(__file__).parent / "costs.md"
DAY = date(2026, 11, 22)
ROWS, LENGTH, EPOCHS = 1_000, 500, 3
QUOTED = JobSpec.model_validate(
    {
        "name": "quoted", "model": "m", "method": "qlora", "data": {"train": "x.jsonl"},
        "hyperparameters": {"max_length": LENGTH},
    }
)  # fmt: skip


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    return "\n".join([*_head(), *_worked(), *_quoted(), *_billed(), *_memory(), *_limits()]) + "\n"


def _head() -> Iterator[str]:
    yield "# What tuning costs, worked out"
    yield ""
    yield _wrapped(
        f"Every figure here comes from the shipped price book and estimator, as of {DAY:%d %B %Y}, by "
        "`python docs/make_costs_page.py`; a test holds the page to them. Sources and dates of single "
        "prices: `tunegate cost prices`. Your own: `tunegate plan job.yaml --report costs.html`."
    )
    yield ""


def _worked() -> Iterator[str]:
    tokens = ROWS * LENGTH * EPOCHS
    yield "## One example by hand"
    yield ""
    yield _wrapped(
        f"{ROWS:,} examples of {LENGTH} tokens, {EPOCHS} epochs: {tokens:,} billed tokens. At "
        f"$1.00 a million that is {tokens / 1e6} × $1.00 = ${tokens / 1e6:.2f}; for every managed model that "
        "can be trained that day and whose price has a source:"
    )
    yield ""
    yield "| candidate | price, USD per million | training, USD |"
    yield "|---|---|---|"
    yield from (f"| {name} | {price} | {usd} |" for name, price, usd in training_prices())
    yield ""


def training_prices() -> list[tuple[str, Decimal, Decimal]]:
    """(candidate, price, training cost of the example) of every managed model with a price of high or
    medium confidence that day, cheapest first; one row where regions and offers agree."""
    found: dict[tuple[str, str, Decimal], Decimal] = {}
    for name in registry.names():
        facts = registry.facts(name)
        book = PriceBook({name: facts})
        for model in [each for each in facts.models if not _ended(facts, each)]:
            for region in model.regions:
                for offer in model.offers:
                    key = CandidateKey(name, model.name, region, offer)
                    quote = book.quote(name, "training", model.name, region, offer, DAY)
                    if quote.line is None or quote.weak:
                        continue
                    usage = Usage(train_tokens=ROWS * LENGTH, epochs=EPOCHS)
                    made = estimate(book, key, facts.kind, usage, None, DAY).estimate
                    if made.training_usd:
                        found[(name, model.name, quote.line.value)] = made.training_usd.likely
    rows = [(f"{backend} {model}", price, usd) for (backend, model, price), usd in found.items()]
    return sorted(rows, key=lambda row: (row[2], row[0]))


def _ended(facts: Facts, model: ModelFacts) -> bool:
    return any(limit.until and limit.until < DAY and limit.concerns(model) for limit in facts.lifecycle)


def _quoted() -> Iterator[str]:
    yield "## Figures people quote, worked out again"
    yield ""
    yield _wrapped(
        "From practitioners' guides of 2026, in our words. “Ours” is what the book and the estimator give "
        f"for {ROWS:,} examples of {LENGTH} tokens and {EPOCHS} epochs, unless the row says otherwise."
    )
    yield ""
    yield "| quoted | ours | why they differ |"
    yield "|---|---|---|"
    yield from (f"| {quoted} | {ours} | {why} |" for quoted, ours, why in quotes())
    yield ""


def quotes() -> Iterator[tuple[str, str, str]]:
    usd = [cost for _, _, cost in training_prices()]
    once = [cost / EPOCHS for cost in usd]
    yield (
        "a managed run of 1,000 × 500 tokens costs $1.50 to $4.00",
        f"${min(usd):.2f} to ${max(usd):.2f}; for one epoch ${min(once):.2f} to ${max(once):.2f}",
        "the quote leaves out epochs, and prices now lie further apart",
    )
    a100 = [each.usd_per_hour / each.gpus for each in load_gpus().rentals if each.gpu == "A100-80GB"]
    yield (
        "an A100 80 GB costs $2 to $4 an hour",
        f"${min(a100):.2f} to ${max(a100):.2f} a GPU, but at AWS only eight at once",
        "what can be rented is the instance; the plan shows both",
    )
    yield _hours("tuning 7B with QLoRA on 1,000 examples takes 1 to 2 hours", "llama-3.1-8b-instruct", ROWS)
    yield _hours("500 examples, 3 epochs: 15 to 45 minutes", "llama-3.1-8b-instruct", 500)
    yield _hours("70B takes 4 to 8 A100-hours", "llama-3.3-70b-instruct", ROWS)
    hours = trained("llama-3.1-8b-instruct", ROWS).hours
    cheapest = min(a100)
    yield (
        "a LoRA run on 7B costs $50 to $200, QLoRA about $10",
        f"${hours.low * cheapest:.2f} to ${hours.high * max(a100):.2f} of GPU time with QLoRA",
        "the quotes hold larger sets, several runs, or whole instances by the hour",
    )
    yield _cheaper()
    yield _premium()
    yield (
        "a $2,000 tune against $5,000 a month pays back in two weeks",
        f"{Decimal(2000) / 5000 * 30:.0f} days, if the tuned model itself costs nothing",
        "`tunegate advise` takes its monthly cost off first",
    )
    yield (
        "$5,000 to $50,000 for data, $15,000 to $100,000 for people",
        "not in the book",
        "nobody's list price; the larger part of most projects all the same",
    )


def _hours(quoted: str, model: str, rows: int) -> tuple[str, str, str]:
    lies = trained(model, rows)
    span = lies.hours
    if not lies.fits:
        return quoted, f"does not fit one A100 80 GB ({lies.memory_gib:.0f} GiB)", "it needs several GPUs"
    text = f"{span.low:.2f} to {span.high:.2f} hours on one A100 80 GB (likely {span.likely:.2f})"
    return quoted, text, "longer rows, padding, evaluation in between and loading weights take the rest"


def trained(model: str, rows: int) -> Fit:
    """QLoRA on one A100 80 GB, by the estimator's assumptions."""
    machine = Machine("a100", "A100-80GB", 1, 80, 12, 200)
    return fit(QUOTED, _shape(model), machine, _stats(rows), rows=rows, epochs=EPOCHS, batch_size=8)


def _shape(model: str) -> ModelShape:
    found = registry.facts("local").model(model)
    if found is None or found.shape is None:
        raise LookupError(model)
    return found.shape


def _stats(rows: int) -> TokenStats:
    tokens = rows * LENGTH
    return TokenStats("counted", 0.0, tokens, LENGTH, (LENGTH,) * 8, {"train": tokens})


def _cheaper() -> tuple[str, str, str]:
    """A question of 1,000 tokens in and 200 out, the big model against a tuned small one."""
    book = PriceBook({"bedrock": registry.facts("bedrock")})
    big = base_price("gpt-4.1", DAY)
    where = ("nova-micro", "us-east-1", "on-demand", DAY)
    small = _usd(book.line("bedrock", "input", *where), 1000) + _usd(
        book.line("bedrock", "output", *where), 200
    )
    large = _usd(big.line("input"), 1000) + _usd(big.line("output"), 200) if big else Decimal(0)
    return (
        "a tuned small model is 15 × cheaper a question than a large one; 50 to 90 % lower",
        f"gpt-4.1 against a tuned Nova Micro: {large / small:.0f} × for 1,000 tokens in, 200 out",
        "small models became cheaper faster than large ones; whether it is as good is for evaluation to say",
    )


def _usd(line: PriceLine | None, tokens: int) -> Decimal:
    return line.value * tokens if line else Decimal(0)


def _premium() -> tuple[str, str, str]:
    book = PriceBook({"openai": registry.facts("openai")})
    tuned = book.line("openai", "output", "gpt-4.1", "global", "standard", DAY)
    base = base_price("gpt-4.1", DAY)
    listed = base.line("output") if base else None
    ratio = tuned.value / listed.value if tuned and listed else Decimal(0)
    return (
        "tuned managed models cost twice the base's output price at OpenAI",
        f"{ratio:.1f} × for gpt-4.1",
        "true of the generation before",
    )


def _billed() -> Iterator[str]:
    yield "## What is billed beyond the hours used"
    yield ""
    yield _wrapped(
        "A bill holds whole seconds, minutes or hours, whatever was used. The same QLoRA training of an 8B "
        "model, with start-up and failed runs, on the cheapest unit of each provider:"
    )
    yield ""
    yield "| unit | USD an hour | billed | who says so | hours used | beyond them, USD |"
    yield "|---|---|---|---|---|---|"
    yield from (f"| {' | '.join(cells)} |" for cells in billed())
    yield ""
    yield _wrapped(
        "The steps are the `[[billing]]` rows of `cost/gpus.toml`, each with the provider's page as its "
        "source. A provider without one is not known to say what it bills by, and is taken to bill whole "
        "hours, the dearest practice there is. Training, start-up and failed runs count as one rental; what "
        "is billed beyond them is a line of its own in every self-hosted estimate. Serving runs all month, "
        "so nothing is added to it."
    )
    yield ""


def billed() -> Iterator[tuple[str, ...]]:
    """Per provider: what it bills by, who says so, and what the example costs more for it."""
    catalogue = load_gpus()
    cheapest: dict[str, Rental] = {}
    for unit in sorted(catalogue.rentals, key=lambda each: each.usd_per_hour):
        if unit.source.confidence.usable:
            cheapest.setdefault(unit.provider, unit)
    for _, unit in sorted(cheapest.items()):
        lines = _hosted(replace(catalogue, rentals=(unit,))).loaded.lines
        at, beyond = next((at, line) for at, line in enumerate(lines) if line.name.startswith("billed "))
        used = sum((line.quantity for line in lines[:at]), Decimal(0))
        said = unit.billing and unit.billing.source
        who = f"[its page]({said.url}), {said.as_of.day} {said.as_of:%B %Y}" if said else "nobody"
        steps = beyond.name.removeprefix("billed ")
        shown = (f"{unit.provider} {unit.unit}", f"{unit.usd_per_hour:.2f}", steps, who, f"{used:.3f}")
        yield *shown, str(beyond.usd.likely)


def _hosted(catalogue: Catalogue) -> SelfHosted:
    """An 8B model trained with QLoRA on the one unit of a catalogue."""
    model = "llama-3.1-8b-instruct"
    spec = QUOTED.model_copy(update={"serving": Serving.model_validate({"output_tokens_per_month": 1})})
    (found,) = self_hosted(
        spec, model, _shape(model), _stats(ROWS), catalogue, rows=ROWS, epochs=EPOCHS, batch_size=8
    )
    return found


def _memory() -> Iterator[str]:
    yield "## Memory and time on your own machine"
    yield ""
    yield _wrapped(
        "`tunegate plan` says whether a job fits, with which settings, and the smallest change after which "
        "it would; `tunegate cost fit job.yaml` shows every method on every GPU of the catalogue. Memory is "
        "counted part by part from the model's sizes. Beside what others published with all their settings "
        "(torchtune's tables; packed rows, bf16), none of which any constant was fitted to:"
    )
    yield ""
    yield "| setting | published, GiB | counted, GiB | distance |"
    yield "|---|---|---|---|"
    for figure in _figures():
        counted = sum(parts_gib(figure.load).values())
        yield f"| {figure.setting} | {figure.gib} | {counted:.1f} | {counted / figure.gib - 1:+.0%} |"
    yield ""
    yield _wrapped(
        "Times are assumed from public figures, and their band is wide, until `tunegate cost probe job.yaml` "
        "has taken twenty real steps of your job on your machine. From then on every plan for that setting "
        "says “measured on this machine on …”, other settings on the same machine are told from it with a "
        "wider band, and a new version of torch, transformers or peft makes it count for nothing. A probe "
        "keeps counts and times, in `probes/` under the home folder; no row, and nothing that was trained."
    )
    yield ""


def _figures() -> Sequence[Any]:
    """The published figures that the benchmark prints."""
    return runpy.run_path(str(PAGE.parents[1] / "benchmarks" / "published_memory.py"))["FIGURES"]


def _limits() -> Iterator[str]:
    yield "## What these figures are not"
    yield ""
    yield _wrapped(
        "Hours of rented GPUs follow from assumed utilisation bands; prices of rented GPUs "
        "are those of undated public snapshots; people's time is in none of them."
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
