"""Facts load, hang together, and say the unsafe thing where nothing is known."""

from __future__ import annotations

from datetime import date

import pytest

from backends import registry
from gateway.core.facts import Confidence, Facts, ModelShape, PriceLine
from tests.backends.made import MANAGED

TODAY = date(2026, 11, 22)
ATTRIBUTES = {
    "hipaa_eligible", "hipaa_requires", "trains_on_data", "zero_retention", "deletes_training_data",
    "residency_pinned", "regions_zone", "customer_keys", "private_network", "business_associate",
}  # fmt: skip


def facts(name: str) -> Facts:
    return registry.facts(name)


def price(
    name: str, item: str, model: str, region: str = "global", offer: str = "standard"
) -> PriceLine | None:
    lines = [
        line for line in facts(name).prices if line.item == item and line.covers(model, region, offer, TODAY)
    ]
    return lines[0] if lines else None


def ends(name: str, what: str, model: str) -> date | None:
    found = facts(name).model(model)
    assert found is not None
    rules = [rule for rule in facts(name).lifecycle if rule.what == what and rule.concerns(found)]
    return min((rule.until for rule in rules if rule.until), default=None)


@pytest.mark.parametrize("name", MANAGED)
def test_names_ids_and_handling_are_stated_once(name: str) -> None:
    known = [model.name for model in facts(name).models]
    ids = [model.id for model in facts(name).models]
    stated = [fact.attribute for fact in facts(name).handling]
    assert len(known) == len(set(known))
    assert len(ids) == len(set(ids))
    assert len(stated) == len(set(stated))
    assert set(stated) <= ATTRIBUTES
    assert facts(name).handles("business_associate")


@pytest.mark.parametrize("name", MANAGED)
def test_no_two_prices_disagree_about_one_candidate_on_one_day(name: str) -> None:
    for model in facts(name).models:
        for region in model.regions:
            for offer in model.offers:
                seen: dict[str, PriceLine] = {}
                for line in facts(name).prices:
                    if line.covers(model.name, region, offer, TODAY):
                        assert seen.setdefault(line.item, line) is line, (
                            model.name,
                            region,
                            offer,
                            line.item,
                        )


@pytest.mark.parametrize("name", MANAGED)
def test_every_source_is_dated_and_used(name: str) -> None:
    found = facts(name)
    used = {found.lookup.source.name}
    for group in (found.models, found.offers, found.lifecycle, found.handling, found.prices):
        used |= {fact.source.name for fact in group}
    assert {source.name for source in found.sources} == used
    assert all(source.as_of <= TODAY and source.url.startswith("https://") for source in found.sources)


def test_the_same_model_has_one_name_everywhere() -> None:
    offered = {name: {model.name for model in facts(name).models} for name in MANAGED}
    assert "gpt-4.1-mini" in offered["openai"] & offered["azure"]
    assert "llama-3.1-8b-instruct" in offered["bedrock"] & offered["vertex"]
    assert "llama-3.3-70b-instruct" in offered["azure"] & offered["bedrock"] & offered["vertex"]


@pytest.mark.parametrize(
    ("name", "what", "model", "last_day"),
    [
        ("openai", "training", "gpt-4.1-mini", date(2027, 1, 6)),
        ("openai", "serving", "gpt-4o", date(2027, 1, 14)),
        ("openai", "training", "gpt-4.1-nano", date(2026, 10, 23)),
        ("azure", "training", "gpt-4.1", date(2027, 4, 14)),
        ("azure", "serving", "gpt-4o-mini", date(2027, 10, 1)),
        ("bedrock", "training", "claude-3-haiku", date(2026, 3, 9)),
        ("bedrock", "training", "nova-micro", None),
        ("vertex", "training", "gemini-2.5-flash", date(2026, 10, 20)),
        ("vertex", "serving", "gemini-3.5-flash", date(2027, 5, 19)),
    ],
)
def test_last_days(name: str, what: str, model: str, last_day: date | None) -> None:
    assert ends(name, what, model) == last_day


def test_openai_trains_only_for_existing_accounts() -> None:
    model = facts("openai").model("gpt-4.1")
    assert model is not None
    rules = [rule for rule in facts("openai").lifecycle if rule.what == "training" and rule.concerns(model)]
    assert [rule.requires for rule in rules] == ["existing_account"]


@pytest.mark.parametrize(
    ("name", "item", "model", "region", "offer", "value"),
    [
        ("openai", "training", "gpt-4.1-mini", "global", "standard", "5.00"),
        ("openai", "output", "gpt-4o", "global", "standard", "15.00"),
        ("azure", "training", "gpt-4.1-mini", "swedencentral", "standard", "6.00"),
        ("azure", "training", "gpt-4.1-mini", "swedencentral", "global", "5.00"),
        ("azure", "hosting", "gpt-4.1", "swedencentral", "standard", "1.70"),
        ("bedrock", "training", "nova-micro", "us-east-1", "on-demand", "1.00"),
        ("bedrock", "storage", "nova-micro", "us-east-1", "provisioned", "1.95"),
        ("vertex", "training", "qwen3-8b", "global", "own-gpu", "4.18"),
        ("vertex", "output", "gemini-3.5-flash", "us-central1", "shared", "13.50"),
    ],
)
def test_prices_as_published(name: str, item: str, model: str, region: str, offer: str, value: str) -> None:
    line = price(name, item, model, region, offer)
    assert line is not None
    assert str(line.value) == value
    assert line.source.confidence.usable


def test_prices_nobody_published_are_absent_or_marked() -> None:
    assert price("azure", "training", "gpt-4.1", "swedencentral", "standard") is None
    assert price("azure", "training", "gpt-4.1-mini", "northcentralus", "standard") is None
    assert price("vertex", "training", "gemini-3.1-flash-lite", "us-central1", "shared") is None
    assert price("bedrock", "hosting", "llama-3.1-8b-instruct", "us-west-2", "provisioned") is None
    remembered = price("bedrock", "training", "nova-pro", "us-east-1", "on-demand")
    assert remembered is not None
    assert remembered.source.confidence is Confidence.MEMORY


def test_what_is_not_verified_about_health_data_is_not_granted() -> None:
    eligible = {
        name: fact and fact.value for name in MANAGED for fact in [facts(name).handles("hipaa_eligible")]
    }
    assert eligible["openai"] is True
    assert eligible["bedrock"] is True
    assert eligible["azure"] is False
    assert eligible["compatible"] is None
    needs = facts("openai").handles("hipaa_requires")
    assert needs is not None
    assert needs.value == ("baa", "modified_retention")
    assert facts("openai").handles("zero_retention") is not None
    assert facts("compatible").handles("trains_on_data") is None
    assert facts("compatible").models == ()


def _parameters(family: str, shape: ModelShape) -> int:
    """A decoder's parameters, counted from its sizes: embeddings, attention, feed-forward, norms."""
    query, key_value = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norms = {"llama": 2, "qwen3": 2, "gemma3": 4}[family] * shape.hidden
    norms += 0 if family == "llama" else 2 * shape.head_dim  # of queries and keys
    layer = 2 * shape.hidden * (query + key_value) + 3 * shape.hidden * shape.intermediate + norms
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied_embeddings else 2)
    return embeddings + shape.layers * layer + shape.hidden


def test_the_sizes_stated_of_open_models_count_up_to_their_parameters() -> None:
    shaped = [model for model in registry.facts("local").models if model.shape]
    assert len(shaped) >= 10
    for model in shaped:
        assert model.shape
        assert _parameters(model.family, model.shape) == model.parameters == model.shape.parameters, (
            model.name
        )
