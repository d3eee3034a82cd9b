"""Which one: objective, budget, deadline; what would open a cheaper door; where data would go."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from cost import PriceBook
from gateway.core.classes import DataClass
from gateway.core.facts import Offer
from gateway.core.gate import Attestation, Decision, GateRequest
from gateway.core.plan import Verdict
from gateway.planner import plan, residency_of
from tests.cost.making import FRESH, facts, line
from tests.planner.making import asked, model, own_machine, profile, shop

PHI = profile(declared=DataClass.PHI)
BAA = Attestation("baa", "dear", date(2026, 1, 1), None)
CHEAP, DEAR = shop("cheap", price="1.00"), shop("dear", price="30.00")


def route(**changes: Any) -> dict[str, Any]:
    return {"route": changes}


def test_the_cheapest_wins() -> None:
    made = plan(asked(DEAR, CHEAP))
    assert made.chosen is not None
    assert made.chosen.backend == "cheap"
    assert made.why == "the cheapest of 2 that may run: about $1.50"


def test_the_total_over_the_horizon_counts_not_training_alone() -> None:
    hosted = shop(
        "hosted",
        prices=(
            line("training", "0.10"),
            line("hosting", "1.70", unit="usd_per_hour"),
            line("input", "1.00"),
            line("output", "2.00"),
        ),
    )
    made = plan(asked(hosted, DEAR, serving={"input_tokens_per_month": 1_000_000, "months": 12}))
    assert made.chosen is not None
    assert made.chosen.backend == "dear"
    assert made.why == "the cheapest of 2 that may run: about $57.00 over 12 months"


def test_the_order_of_the_route_decides_when_asked_to() -> None:
    made = plan(asked(CHEAP, DEAR, **route(objective="order", backends=["dear", "cheap"])))
    assert made.chosen is not None
    assert made.chosen.backend == "dear"


def test_fastest_prefers_a_known_time() -> None:
    made = plan(asked(CHEAP, own_machine(), **route(objective="fastest")))
    assert made.chosen is not None
    assert made.chosen.backend == "here"


def test_own_hardware_has_no_price_and_is_chosen_only_when_nothing_priced_may_run() -> None:
    both = plan(asked(own_machine(), CHEAP))
    assert both.chosen is not None
    assert both.chosen.backend == "cheap"
    alone = plan(asked(own_machine(), CHEAP, data=PHI))
    assert alone.chosen is not None
    assert alone.chosen.backend == "here"
    assert alone.why.startswith("the only one that may run: own hardware, not priced, about ")
    here = alone.chosen_candidate
    assert here is not None
    assert here.estimate.training_usd is None


def test_a_budget_holds_against_the_high_estimate() -> None:
    made = plan(asked(CHEAP, DEAR, **route(objective="order", budget_usd=1.49)))
    assert made.chosen is None
    assert [each.verdict for each in made.candidates] == [Verdict.ALLOWED] * 2
    assert not any(each.selectable for each in made.candidates)
    assert made.candidates[0].reasons[-1].text == "may cost $1.50, above the budget of $1.49"
    assert made.why == "none of 2 candidates may run: 2 over budget or past the deadline"
    within = plan(asked(CHEAP, DEAR, **route(objective="order", budget_usd=1.50)))
    assert within.chosen is not None


def test_a_deadline_holds_against_the_high_time_and_needs_a_known_one() -> None:
    made = plan(asked(CHEAP, own_machine(), **route(deadline="7d")))
    assert [each.selectable for each in made.candidates] == [False, True]
    tight = plan(asked(own_machine(), **route(deadline="1m")))
    assert tight.chosen is None
    assert tight.candidates[0].reasons[-1].code == "past_deadline"


def test_openings_name_the_smallest_change_and_the_saving() -> None:
    made = plan(asked(CHEAP, DEAR, data=PHI, attestations=(BAA,)))
    assert made.chosen is not None
    assert made.chosen.backend == "dear"
    (opening,) = made.openings
    assert opening.candidate.backend == "cheap"
    assert "BAA" in opening.change
    assert opening.saves_usd == Decimal("43.50")


def test_what_a_person_must_still_set_is_part_of_the_change() -> None:
    lacking = shop("cheap", price="1.00", lacks=("role",), dispatches=False)
    (opening,) = plan(asked(lacking, own_machine(), data=PHI)).openings
    assert "BAA" in opening.change
    assert "set options.cheap.role" in opening.change
    assert "cannot dispatch to it yet" in opening.change
    assert opening.saves_usd is None  # one's own machine has no price to compare with


def test_no_opening_where_the_change_would_not_be_enough_or_not_cheaper() -> None:
    few = shop("cheap", models=(model(min_rows=5000),))
    assert plan(asked(few, own_machine(), data=PHI)).openings == ()
    other = Attestation("baa", "cheap", date(2026, 1, 1), None)
    assert plan(asked(CHEAP, DEAR, data=PHI, attestations=(other,))).openings == ()


def test_a_change_really_opens_the_door() -> None:
    request = asked(CHEAP, own_machine(), data=PHI)
    (opening,) = plan(request).openings
    signed = Attestation("baa", "cheap", date(2026, 1, 1), None)
    after = plan(replace(request, attestations=(signed,)))
    assert after.candidate(opening.candidate).verdict is Verdict.ALLOWED


def test_at_most_three_openings_one_per_backend_and_model() -> None:
    shops = [shop(f"s{number}", price=f"{number}.00") for number in range(1, 7)]
    wide = shop("s0", price="0.50", models=(model(regions=("us-east-1", "us-west-2")),))
    made = plan(asked(*shops, wide, own_machine(), data=PHI))
    assert [opening.candidate.backend for opening in made.openings] == ["s0", "s1", "s2"]


def test_a_gate_that_denies_without_a_reason_still_denies() -> None:
    class Shut:
        def decide(self, request: GateRequest) -> Decision:
            return Decision(False, (), "hash")

    made = plan(replace(asked(CHEAP), gate=Shut(), changes=None))
    assert made.candidates[0].verdict is Verdict.DENIED
    assert made.chosen is None
    assert made.policy_hash == "hash"


@pytest.mark.parametrize(
    ("residency", "region", "zone"),
    [
        ("local", "local", "local"),
        ("region", "us-east-1", "us"),
        ("region", "us-central1", "us"),
        ("region", "eastus2", "us"),
        ("region", "eu-central-1", "eu"),
        ("region", "europe-west4", "eu"),
        ("region", "swedencentral", "eu"),
        ("region", "francecentral", "eu"),
        ("region", "norwayeast", "global"),  # Europe, outside the Union
        ("region", "eu-moon-1", "global"),  # nobody has looked where it is
        ("region", "eu-west-2", "global"),  # London
        ("region", "europe-west6", "global"),  # Zürich
        ("region", "asia-east1", "global"),
        ("region", "australiaeast", "global"),
        ("zone:eu", "us-east-1", "eu"),
        ("global", "us-east-1", "global"),
    ],
)
def test_where_data_may_go(residency: str, region: str, zone: str) -> None:
    assert residency_of(Offer("o", residency, "", FRESH), region) == zone


def test_an_offer_nobody_states_may_send_data_anywhere() -> None:
    assert residency_of(None, "us-east-1") == "global"


def test_residency_that_is_asked_for_closes_what_does_not_keep_it() -> None:
    made = plan(asked(CHEAP, data=profile(residency="eu")))
    assert made.candidates[0].verdict is Verdict.DENIED


def test_several_machines_are_several_offers() -> None:
    big = replace(own_machine().own[0], name="big", memory_gib=64)
    made = plan(asked(own_machine(own=(own_machine().own[0], big))))
    assert [each.key.offer for each in made.candidates] == ["this-machine", "big"]
    assert all(each.verdict is Verdict.ALLOWED for each in made.candidates)


def test_a_machine_with_a_price_is_priced_by_the_hour() -> None:
    here = own_machine()
    priced = replace(here.facts, prices=(line("machine", "36.00", unit="usd_per_hour"),))
    made = plan(replace(asked(here), book=PriceBook({"here": priced})))
    total = made.candidates[0].estimate.total_usd
    assert total is not None
    assert total.low < total.likely < total.high


def test_a_book_without_the_backend_makes_it_unpriced() -> None:
    made = plan(replace(asked(CHEAP), book=PriceBook({"other": facts()})))
    assert made.candidates[0].verdict is Verdict.UNPRICED
