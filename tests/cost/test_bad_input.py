"""What can be wrong with a price or a horizon: each a typed error, or unpriced, with the place."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cost import PriceBook, Priced, Usage, entered_from, estimate
from gateway.cli.main import app
from gateway.core.errors import SettingsError
from gateway.core.facts import PriceLine
from gateway.core.plan import CandidateKey
from gateway.core.spec import Serving
from tests.cost.making import TODAY, facts, line
from tests.data.make import chats, jsonl

KEY = CandidateKey("cloud", "m", "us", "std")
USAGE = Usage(train_tokens=500_000, epochs=3)
SPEC = """
version: 1
name: notes
model: {model}
data: {{train: rows.jsonl, class: public}}
hyperparameters: {{epochs: 3}}
route: {{backends: [bedrock]}}
{more}
"""


def priced(*lines: PriceLine, usage: Usage = USAGE, serving: Serving | None = None) -> Priced:
    return estimate(PriceBook({"cloud": facts(*lines)}), KEY, "managed", usage, serving, TODAY)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ((), "no training price is known"),
        ((line("training", "1.00", models=("other",)),), "no training price is known"),
        ((line("training", "1.00", regions=("mars-1",)),), "no training price is known"),
        ((line("training", "1.00", until=date(2026, 11, 21)),), "no training price is known"),
        ((line("training", "1.00", currency="EUR"),), "the training price is in EUR, and is not converted"),
        ((line("training", "1.00", unit="usd_per_hour"),), "the training price is in usd_per_hour"),
    ],
    ids=["missing", "model", "region", "ended", "currency", "unit"],
)
def test_a_price_that_does_not_hold_leaves_it_unpriced_and_says_why(
    lines: tuple[PriceLine, ...], why: str
) -> None:
    made = priced(*lines).estimate
    assert made.training_usd is None
    assert made.total_usd is None
    assert made.unpriced[0].startswith(why)


def test_no_token_at_all_is_not_free() -> None:
    made = priced(line("training", "1.00"), usage=Usage(train_tokens=0, epochs=3)).estimate
    assert (made.training_usd, made.unpriced) == (None, ("there is no token to train on",))


def test_traffic_of_nothing_costs_nothing_for_inference_and_the_rest_as_stated() -> None:
    made = priced(
        line("training", "1.00"), line("hosting", "1.70", unit="usd_per_hour"), serving=Serving(months=1)
    ).estimate
    assert [each.name for each in made.lines] == ["training", "hosting"]
    assert made.total_usd is None or made.total_usd.likely == Decimal("1242.50")  # 1.50 + 730 h × 1.70


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("unit", {"unit": "usd_per_hour"}, "training is billed in usd_per_1m_tokens, not in usd_per_hour"),
    ("currency", {"currency": "EUR"}, "prices are in USD"),
    ("negative", {"value": Decimal(-1)}, "value"),
    ("backwards", {"from": date(2026, 2, 1), "until": date(2026, 1, 1)}, "`until` is before `from`"),
    ("source", {"source": ""}, "source"),
]


@pytest.mark.parametrize(("change", "told"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_entry_is_an_error_that_names_the_row(change: dict[str, Any], told: str) -> None:
    row = {"backend": "cloud", "item": "training", "value": Decimal(1), "unit": "usd_per_1m_tokens"}
    with pytest.raises(SettingsError) as caught:
        entered_from([{**row, "source": "contract", **change}], [], [], place="tunegate.toml", read_on=TODAY)
    assert "prices.0" in str(caught.value)
    assert told in str(caught.value)
    assert caught.value.place == "tunegate.toml"


def test_two_lines_for_one_date_are_an_error_that_names_both() -> None:
    with pytest.raises(SettingsError, match=r"1\.00 and 2\.00"):
        priced(line("training", "1.00", starts=date(2026, 1, 1)), line("training", "2.00"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    jsonl(tmp_path / "rows.jsonl", chats(range(40)))
    return tmp_path


def planned(
    folder: Path, *, settings: str = "", model: str = "nova-micro", more: str = ""
) -> tuple[int, str]:
    (folder / "job.yaml").write_text(SPEC.format(model=model, more=more))
    (folder / "tunegate.toml").write_text(settings)
    told = ["--config", str(folder / "tunegate.toml"), "--home", str(folder / "home")]
    ran = CliRunner().invoke(app, [*told, "plan", str(folder / "job.yaml")])
    return ran.exit_code, " ".join((ran.output + (str(ran.exception) if ran.exception else "")).split())


ENTERED = """
[[prices]]
backend = "{backend}"
item = "training"
models = ["{model}"]
regions = ["{region}"]
value = 0.9
unit = "usd_per_1m_tokens"
source = "contract"
"""


@pytest.mark.parametrize(
    ("backend", "model", "region", "told"),
    [
        ("bedrok", "nova-micro", "us-east-1", "the backend 'bedrok', which there is not"),
        ("bedrock", "nova-macro", "us-east-1", "did you mean nova-micro?"),
        ("bedrock", "nova-micro", "us-east-9", "did you mean us-east-1?"),
    ],
)
def test_an_entered_price_for_what_nobody_offers_is_an_error(
    backend: str, model: str, region: str, told: str, folder: Path
) -> None:
    code, text = planned(folder, settings=ENTERED.format(backend=backend, model=model, region=region))
    assert code != 0
    assert told in text
    assert "tunegate.toml" in text


@pytest.mark.parametrize(
    ("serving", "place"),
    [
        ("months: 0", "serving.months"),
        ("months: -3", "serving.months"),
        ("months: 1200", "serving.months"),
        ("input_tokens_per_month: -1", "serving.input_tokens_per_month"),
        ("output_tokens_per_month: 1e30", "serving.output_tokens_per_month"),
    ],
)
def test_a_negative_or_absurd_horizon_is_an_error_with_its_line(
    serving: str, place: str, folder: Path
) -> None:
    code, text = planned(folder, more=f"serving: {{{serving}}}")
    assert code != 0
    assert place in text
    assert "line 8" in text


def test_a_model_that_nobody_offers_is_named_with_the_nearest(folder: Path) -> None:
    code, text = planned(folder, model="nova-mikro")
    assert code == 0  # the plan could judge: there is no candidate
    assert "nova-mikro" in text
    assert "nova-micro" in text
