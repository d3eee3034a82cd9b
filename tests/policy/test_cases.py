"""A table of cases, as an organisation's CI runs it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from gateway.core.errors import SettingsError
from gateway.policy import cases, load_gate, try_cases

GATE = load_gate()


def test_the_documented_table_passes(tmp_path: Path) -> None:
    table = tmp_path / "cases.yaml"
    table.write_text(textwrap.dedent((cases.__doc__ or "").split("\n\n")[1]))
    results = try_cases(table, GATE)
    assert [(result.expected, result.passed) for result in results] == [("deny", True), ("allow", True)]


def test_what_a_case_leaves_out_is_unsafe(tmp_path: Path) -> None:
    table = tmp_path / "cases.yaml"
    table.write_text(
        "version: 1\nas_of: 2026-11-22\ncases:\n"
        "- {name: open, ask: {backend: b, kind: managed}, expect: allow}\n"
        "- {name: named, ask: {backend: b, kind: managed}, expect: deny, rules: [gdpr.art9]}\n"
        "- {name: public, ask: {backend: b, kind: managed, class: public, scanned: true}, expect: allow}\n"
    )
    first, second, third = try_cases(table, GATE)
    assert not first.passed
    assert not first.decision.allowed
    assert second.missing_rules == ("gdpr.art9",)
    assert not second.passed
    assert third.passed
    assert third.to_json()["passed"] is True


HEAD = "version: 1\nas_of: 2026-11-22\ncases:\n"


@pytest.mark.parametrize(
    "text",
    [
        HEAD.replace("cases:", "cases: []"),
        HEAD + "- {name: x, ask: {backend: b, kind: cloud}, expect: deny}\n",
        HEAD + "- {name: x, ask: {backend: b, kind: local, clas: phi}, expect: deny}\n",
        HEAD + "- {name: x, ask: {backend: b, kind: local, class: PII2}, expect: deny}\n",
        "just text",
        "a: [",
        "",
    ],
)
def test_a_table_that_cannot_be_understood_is_refused(tmp_path: Path, text: str) -> None:
    table = tmp_path / "cases.yaml"
    table.write_text(text)
    with pytest.raises(SettingsError) as caught:
        try_cases(table, GATE)
    assert caught.value.place == str(table)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        try_cases(tmp_path / "absent.yaml", GATE)
