"""The signs that the one pass looks for: there wherever a rule matches, so that none is asked too seldom."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.privacy.engine import Pattern
from gateway.privacy.rules import RULES, Rule

_NAMED = [pytest.param(rule, id=f"{at}-{rule.type}") for at, rule in enumerate(RULES)]


@pytest.mark.parametrize("rule", _NAMED)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_sign_is_there_wherever_its_rule_matches(rule: Rule, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(rule.pattern)).encode("ascii", "replace")
    if Pattern(rule.pattern).occurs(text):
        assert Pattern(rule.sign).occurs(text)


def test_signs_count_nothing() -> None:
    """An upper bound costs the pass a state for every number up to it, in each state of the other rules."""
    assert not [rule.sign for rule in RULES if "{" in rule.sign and not rule.hint and _bounded(rule.sign)]


def _bounded(pattern: str) -> bool:
    return Pattern(r"\{\d+,\d+\}").occurs(pattern.encode())
