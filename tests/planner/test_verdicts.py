"""Every kind of reason, and that all of them are given."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from gateway.core.classes import DataClass
from gateway.core.facts import Confidence, Lifecycle
from gateway.core.gate import Attestation
from gateway.core.plan import Candidate, Verdict
from gateway.core.rows import FileStats
from gateway.planner import plan
from tests.cost.making import FRESH, TODAY, line, source
from tests.planner.making import GIANT, SERVING_PRICES, Shop, asked, model, own_machine, profile, shop, spec

PHI = profile(declared=DataClass.PHI)
BAA = Attestation("baa", "cloud", date(2026, 1, 1), date(2027, 1, 1))


def only(*shops: Shop, **changes: Any) -> Candidate:
    (candidate,) = plan(asked(*shops, **changes)).candidates
    return candidate


def codes(candidate: Candidate, verdict: Verdict | None = None) -> list[str]:
    return [each.code for each in candidate.reasons if verdict in (None, each.verdict)]


def test_what_nothing_speaks_against_is_allowed_and_chosen() -> None:
    made = plan(asked(shop()))
    assert made.chosen == made.candidates[0].key
    assert made.candidates[0].verdict is Verdict.ALLOWED
    assert made.candidates[0].billed_tokens == 1_500_000
    assert made.why == "the only one that may run: about $15.00"


@pytest.mark.parametrize(
    ("answers", "changes", "code"),
    [
        ({}, {"task": "dpo"}, "task"),
        ({}, {"method": "full"}, "method"),
        ({"models": (model(min_rows=1001),)}, {}, "too_few_rows"),
        ({"models": (model(max_rows=999),)}, {}, "too_many_rows"),
        ({}, {"data": profile(has_tools=True)}, "tools"),
        ({"models": (model(max_tokens_per_row=1000),)}, {}, "too_long"),
        ({"seed_refused": True}, {"hyperparameters": {"seed": 3}}, "field"),
    ],
)
def test_what_a_backend_cannot_do(answers: dict[str, Any], changes: dict[str, Any], code: str) -> None:
    candidate = only(shop(**answers), **changes)
    assert candidate.verdict is Verdict.UNSUPPORTED
    assert codes(candidate, Verdict.UNSUPPORTED) == [code]
    assert candidate.translation is None


def test_a_refused_field_at_its_default_was_not_asked_for() -> None:
    assert only(shop(seed_refused=True)).verdict is Verdict.ALLOWED


def test_long_rows_are_counted_and_are_cut_only_when_the_user_says_so() -> None:
    short = shop(models=(model(max_tokens_per_row=1000),))
    assert "7 rows are longer than the 1,000 tokens" in only(short).reasons[0].text
    request = asked(short)
    loose = spec(data={"train": ("x.jsonl",), "too_long": "truncate"})
    (cut,) = plan(replace(request, spec=loose)).candidates
    assert (cut.verdict, codes(cut)) == (Verdict.ALLOWED, ["truncated"])
    stubborn = shop(models=(model(max_tokens_per_row=1000),), cuts_refused=True)
    (left,) = plan(replace(asked(stubborn), spec=loose)).candidates
    assert codes(left) == ["field"]


def test_rows_longer_than_an_own_run_will_take_are_told_before_it_starts() -> None:
    candidate = only(own_machine(auto_length=1000))
    told = [each for each in candidate.reasons if each.code == "rows_too_long"]
    assert candidate.verdict is Verdict.ALLOWED
    assert [each.text for each in told] == [
        "7 of 1,000 rows are longer than 1,000 tokens and will be left out"
    ]
    loose = spec(data={"train": ("x.jsonl",), "too_long": "truncate"})
    (cut,) = plan(replace(asked(own_machine(auto_length=1000)), spec=loose)).candidates
    assert "will be shortened" in next(each.text for each in cut.reasons if each.code == "rows_too_long")
    assert "rows_too_long" not in codes(only(own_machine(auto_length=1200)))


def test_an_own_run_whose_rows_are_all_too_long_has_nothing_to_train_on() -> None:
    counts = profile().tokens["words (proxy, ±0%)"]
    data = profile(tokens={counts.method: replace(counts, over={50: 1000})})
    candidate = only(own_machine(auto_length=50), data=data)
    assert candidate.verdict is Verdict.UNSUPPORTED
    assert codes(candidate, Verdict.UNSUPPORTED) == ["rows_too_long"]


def test_a_limit_on_both_files_counts_the_validation_rows_too() -> None:
    data = profile(split_rows={"train": 900, "validation": 100})
    alone, both = (
        shop(models=(model(max_rows=950, limits_include_validation=both),)) for both in (False, True)
    )
    assert only(alone, data=data).verdict is Verdict.ALLOWED
    refused = only(both, data=data)
    assert codes(refused) == ["too_many_rows"]
    assert "1,000 rows to train and validate on" in refused.reasons[0].text


def test_rows_that_cannot_be_converted_are_counted_by_reason() -> None:
    files = (FileStats("train", "chat", 1000, 990, {"tool_turn": 10}, "sha", 1),)
    candidate = only(shop(), data=profile(converted={"chat": files}))
    assert candidate.verdict is Verdict.ALLOWED
    assert "10 of 1,000 training rows cannot go there (10 tool_turn)" in candidate.reasons[0].text


def test_a_backend_that_offers_none_of_the_models_shows_one_row_that_says_so() -> None:
    made = plan(asked(shop("one"), shop("two"), model=["elsewhere"]))
    assert [candidate.key.backend for candidate in made.candidates] == ["one", "two"]
    assert all(codes(candidate) == ["model_not_offered"] for candidate in made.candidates)
    assert made.chosen is None
    assert made.why == "none of 2 candidates may run: 2 unsupported; no backend offers elsewhere"


def test_a_model_that_nobody_offers_is_named_beside_one_that_somebody_does() -> None:
    made = plan(asked(shop(), model=["m", "elsewhere"]))
    assert made.chosen is not None
    assert made.why.endswith("no backend offers elsewhere")
    assert [codes(candidate) for candidate in made.candidates] == [[], ["model_not_offered"]]


def test_a_misspelt_model_is_answered_with_the_nearest_name() -> None:
    made = plan(asked(shop(models=(model("llama-3.1-8b-instruct"),)), model=["llama-3-8b-instruct"]))
    assert made.why.endswith(
        "no backend offers llama-3-8b-instruct (the nearest name is llama-3.1-8b-instruct)"
    )
    assert (made.candidates[0].reasons[0].fix or "").startswith("perhaps llama-3.1-8b-instruct is meant")


def test_a_backend_nobody_registered_is_unsupported() -> None:
    made = plan(asked(shop(), route={"backends": ["nowhere", "cloud"]}))
    assert [codes(candidate) for candidate in made.candidates] == [["unknown_backend"], []]


def test_the_same_model_under_two_names_is_one_candidate() -> None:
    assert len(plan(asked(shop(), model=["m", "id-m"])).candidates) == 1


def test_phi_without_an_agreement_is_denied_with_rule_and_fix() -> None:
    candidate = only(shop(), data=PHI)
    assert candidate.verdict is Verdict.DENIED
    assert candidate.translation is not None
    reason = next(each for each in candidate.reasons if each.verdict is Verdict.DENIED)
    assert reason.rule is not None
    assert reason.fix is not None


def test_phi_with_an_agreement_in_force_is_allowed_until_it_expires() -> None:
    assert only(shop(), data=PHI, attestations=(BAA,)).verdict is Verdict.ALLOWED
    late = only(shop(), data=PHI, attestations=(BAA,), as_of=date(2027, 1, 2))
    assert late.verdict is Verdict.DENIED


def test_unscanned_data_stays_here() -> None:
    made = plan(asked(shop(), own_machine(), data=profile(scan=None)))
    assert [candidate.verdict for candidate in made.candidates] == [Verdict.DENIED, Verdict.ALLOWED]


def test_facts_known_only_from_memory_are_not_told_to_the_gate() -> None:
    sure, vague = shop(), shop()
    doubted = tuple(replace(fact, source=source(Confidence.MEMORY)) for fact in vague.facts.handling)
    vague.facts = replace(vague.facts, handling=doubted)
    assert only(sure, data=PHI, attestations=(BAA,)).verdict is Verdict.ALLOWED
    assert only(vague, data=PHI, attestations=(BAA,)).verdict is Verdict.DENIED


def test_a_missing_option_is_named_and_one_that_is_set_is_not() -> None:
    lacking = shop(lacks=("role",))
    candidate = only(lacking)
    assert candidate.verdict is Verdict.UNAVAILABLE
    assert candidate.reasons[0].fix == "set options.cloud.role"
    assert only(lacking, options={"cloud": {"role": "r"}}).verdict is Verdict.ALLOWED


def test_weights_that_are_not_here_are_unavailable() -> None:
    candidate = only(own_machine(weights_absent="fetch them first"))
    assert codes(candidate, Verdict.UNAVAILABLE) == ["absent"]


def test_what_does_not_fit_the_machine_is_unsupported_and_says_why() -> None:
    candidate = only(own_machine(sizes=GIANT))
    assert codes(candidate, Verdict.UNSUPPORTED) == ["does_not_fit"]
    assert "GiB" in candidate.reasons[0].text


def test_dispatch_that_is_not_built_makes_unavailable_only_what_would_be_allowed() -> None:
    assert codes(only(shop(dispatches=False)), Verdict.UNAVAILABLE) == ["not_built"]
    assert "not_built" not in codes(only(shop(dispatches=False), data=PHI))


def test_an_unknown_price_makes_unpriced_not_zero() -> None:
    vague = line("training", "1.00", source=source(Confidence.MEMORY))
    candidate = only(shop(prices=(vague, *SERVING_PRICES)))
    assert candidate.verdict is Verdict.UNPRICED
    assert candidate.estimate.total_usd is None
    assert candidate.reasons[0].text == "the training price is known only from memory"


def test_reasons_of_every_kind_are_collected_and_the_first_decides() -> None:
    sunk = Lifecycle("training", ("*",), "closed", FRESH, until=date(2026, 1, 1))
    bad = shop(
        models=(model(min_rows=5000),), lifecycle=(sunk,), prices=(), lacks=("role",), dispatches=False
    )
    candidate = only(bad, data=PHI)
    assert candidate.verdict is Verdict.UNSUPPORTED
    kinds = [each.verdict for each in candidate.reasons]
    assert kinds == sorted(kinds, key=list(Verdict).index)
    assert set(kinds) == {
        Verdict.UNSUPPORTED,
        Verdict.DENIED,
        Verdict.UNAVAILABLE,
        Verdict.UNPRICED,
    }
    assert codes(candidate, Verdict.UNAVAILABLE) == ["training_ended", "missing_options"]


def test_the_epochs_a_backend_will_really_train_are_the_ones_billed() -> None:
    candidate = only(shop(auto_epochs=7))
    assert candidate.billed_tokens == 3_500_000
    assert candidate.estimate.training_usd is not None
    assert str(candidate.estimate.training_usd.likely) == "35.00"


def test_epochs_that_the_service_keeps_to_itself_make_no_price() -> None:
    secretive = shop(auto_epochs=None)
    candidate = only(secretive)
    assert candidate.verdict is Verdict.UNPRICED
    assert (candidate.billed_tokens, candidate.estimate.training_usd) == (None, None)
    assert "how many epochs will be billed is not known" in candidate.reasons[0].text
    assert only(secretive, hyperparameters={"epochs": 2}).billed_tokens == 1_000_000


def test_ones_own_machine_takes_as_long_as_the_epochs_it_trains() -> None:
    three, nine = (only(own_machine(auto_epochs=count)).duration_h for count in (3, 9))
    assert three is not None
    assert nine is not None
    assert nine.likely > 2 * three.likely


def test_a_plan_is_the_same_twice_and_is_json() -> None:
    request = asked(shop(), own_machine(), as_of=TODAY)
    assert json.dumps(plan(request).to_json()) == json.dumps(plan(request).to_json())
