"""Policy files at the door: what is wrong is said with file and line, and nothing of it is in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.errors import SettingsError
from gateway.policy import check, load_gate, shipped_sets
from gateway.policy.rules import load_rules, set_path

GOOD = (
    '// a comment; with a semicolon\n@id("ours.one") @reason("quoted; \\" // too")\n'
    "forbid (principal, action, resource);\n"
)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ('@id("x") @reason("r")\npermit (principal, action resource);', "not a Cedar rule"),
        ('@id("x") @reason("r")\nforbid (principal, action, resource)', "not a Cedar rule"),
        (
            '@id("x") @reason("r")\npermit (principal, action, resource)\n'
            'when { context.data.class == "phi" };',
            "not compatible",
        ),
        (
            '@id("x") @reason("r")\npermit (principal, action, resource)\n'
            'when { context.data.class == Class::"PHI" };',
            "PHI",
        ),
        (
            '@id("x") @reason("r")\nforbid (principal, action, resource)\nunless { context.data.scaned };',
            "scaned",
        ),
        ('@id("x") @reason("r")\nforbid (principal, action == Action::"uplod", resource);', "uplod"),
        ('@id("x") @reason("r")\npermit (principal == ?principal, action, resource);', "template"),
        ('@reason("r")\npermit (principal, action, resource);', "@id"),
        ('@id("x")\npermit (principal, action, resource);', "@reason"),
        ('@id("ours.one") @reason("r")\npermit (principal, action, resource);', "taken"),
    ],
)
def test_a_wrong_rule_is_named_with_file_and_line(tmp_path: Path, broken: str, says: str) -> None:
    file = tmp_path / "ours.cedar"
    file.write_text(GOOD + "\n// next\n" + broken)
    (problem,) = check([file])
    assert problem.file == str(file)
    assert problem.line == 6
    assert says in problem.text
    with pytest.raises(SettingsError) as caught:
        load_gate([file])
    assert caught.value.place == f"{file}:6"
    assert caught.value.fix


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "ours.cedar"
    file.write_text("permit (principal);\nforbid;\n")
    assert [problem.line for problem in check([file, tmp_path / "absent.cedar"])] == [1, 2, None]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00p"])
def test_a_file_that_cannot_be_read_is_not_left_out(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ours.cedar"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_gate([file])


def test_an_unknown_set_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="baseline, gdpr-eu, hipaa, on-prem-only"):
        load_gate(sets=("hippa",))


def test_a_good_file_has_no_problems(tmp_path: Path) -> None:
    file = tmp_path / "ours.cedar"
    file.write_text(GOOD)
    assert check([file]) == ()
    assert list(load_rules([file]).rules) == ["ours.one"]


@pytest.mark.parametrize("name", shipped_sets())
def test_shipped_rules_are_written_for_people(name: str) -> None:
    assert check([set_path(name)]) == ()
    for rule in load_rules([set_path(name)]).rules.values():
        assert rule.reason.endswith(".")
        assert rule.citation
        assert rule.fix


def test_a_gate_says_where_its_rules_came_from(tmp_path: Path) -> None:
    rule = '@id("ours") @reason("r") forbid (principal, action, resource);'
    (tmp_path / "ours.cedar").write_text(rule)
    assert load_gate().rules == ("baseline", "hipaa")
    assert load_gate([tmp_path / "ours.cedar"], sets=()).rules == ("ours.cedar",)
    (tmp_path / "hipaa").write_text(rule)
    with pytest.raises(SettingsError, match="shipped set 'hipaa'"):
        load_gate([tmp_path / "hipaa"], sets=())
