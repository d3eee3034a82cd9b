"""Policy files → checked rules. A file that does not parse, or does not validate, is never in force."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import cedarpy

from gateway.core.errors import SettingsError
from gateway.core.spec import canonical_sha256

_SETS = Path(__file__).parent / "sets"

# What separates one rule from the next is a semicolon outside strings and comments.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|;', re.DOTALL)
_BLANK = re.compile(r"(?:\s|//[^\n]*)*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, in the words of its annotations."""

    id: str
    effect: Literal["permit", "forbid"]
    reason: str
    citation: str
    fix: str


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """One thing wrong in a policy file; `line` counts from 1 and is where the rule begins."""

    file: str
    line: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"

    def to_json(self) -> dict[str, object]:
        return {"file": self.file, "line": self.line, "text": self.text}


@dataclass(frozen=True, slots=True)
class RuleBook:
    """Validated rules, parsed once.

    Attributes:
        every: all rules, the set that decides.
        permits: the permits alone, the set that says whether anything would permit.
        words: every word the rules' conditions use: what they do not mention cannot matter.
        agreements: kinds of agreement the rules ask for.
        approvals: names and roles whose approval the rules ask for.
        places: zones and countries the rules name (two small letters).
        hash: SHA-256 over the schema and the rules, annotations included.
        texts: SHA-256 of each rule, annotations included, by its id.
    """

    rules: Mapping[str, Rule]
    every: cedarpy.PolicySet
    permits: cedarpy.PolicySet
    words: frozenset[str]
    agreements: frozenset[str]
    approvals: frozenset[str]
    places: frozenset[str]
    hash: str
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Parsed:
    file: str
    line: int
    tree: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.tree["annotations"]["id"])


@cache
def schema() -> cedarpy.Schema:
    """The shipped schema, parsed once."""
    return cedarpy.Schema.from_str(_schema_text())


def schema_sha256() -> str:
    """What rules were checked against."""
    return hashlib.sha256(_schema_text().encode()).hexdigest()


def shipped_sets() -> tuple[str, ...]:
    """Names of the policy sets that come with Tunegate."""
    return tuple(sorted(path.stem for path in _SETS.glob("*.cedar")))


def set_path(name: str) -> Path:
    """Where a shipped set lies.

    Raises:
        SettingsError: no set has this name.
    """
    if name not in shipped_sets():
        raise SettingsError(
            f"no policy set is called {name!r}", fix=f"the shipped ones are {', '.join(shipped_sets())}"
        )
    return _SETS / f"{name}.cedar"


def check(paths: Sequence[Path]) -> tuple[PolicyProblem, ...]:
    """Everything wrong in these policy files: syntax, types, unknown names, missing or repeated ids."""
    return _read(_texts(paths))[1]


def load_rules(paths: Sequence[Path]) -> RuleBook:
    """The rules of these files, in force together.

    Raises:
        SettingsError: a file is missing, or has any problem; its place is the first one's.
    """
    return rules_of(_texts(paths))


def rules_of(texts: Mapping[str, str | None]) -> RuleBook:
    """The rules of these policies, by where each stands; None is a text that could not be read.

    Raises:
        SettingsError: a policy has any problem; its place is the first one's.
    """
    parsed, problems = _read(texts)
    if problems:
        first = problems[0]
        raise SettingsError(
            "; ".join([first.text, *map(str, problems[1:])]),
            place=f"{first.file}:{first.line}" if first.line else first.file,
            fix="correct it, then `tunegate policy check`",
        )
    trees = {rule.id: rule.tree for rule in parsed}
    permits = {id: tree for id, tree in trees.items() if tree["effect"] == "permit"}
    conditions = [tree["conditions"] for tree in trees.values()]
    return RuleBook(
        rules={id: _rule(id, tree) for id, tree in trees.items()},
        every=_policy_set(trees),
        permits=_policy_set(permits),
        words=frozenset(_strings(conditions)),
        agreements=frozenset(_sought(conditions, "agreements")),
        approvals=frozenset(_sought(conditions, "approvals")),
        places=frozenset(word for word in _literals(conditions) if re.fullmatch(r"[a-z]{2}", word)),
        hash=canonical_sha256({"schema": _schema_text(), "rules": trees}),
        texts={id: canonical_sha256(tree) for id, tree in trees.items()},
    )


def _texts(paths: Sequence[Path]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for path in paths:
        try:
            found[str(path)] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            found[str(path)] = None
    return found


def _read(texts: Mapping[str, str | None]) -> tuple[list[_Parsed], tuple[PolicyProblem, ...]]:
    parsed: list[_Parsed] = []
    problems: list[PolicyProblem] = []
    homes: dict[str, str] = {}
    for place, text in texts.items():
        if text is None:
            problems.append(PolicyProblem(place, None, "this policy file cannot be read as UTF-8 text"))
            continue
        for line, statement in _statements(text):
            tree, wrong = _parse(statement)
            problems += [PolicyProblem(place, line, text) for text in wrong]
            if tree is None:
                continue
            rule = _Parsed(place, line, tree)
            if home := homes.get(rule.id):
                problems.append(PolicyProblem(place, line, f"the id {rule.id!r} is taken by {home}"))
            homes.setdefault(rule.id, f"{place}:{line}")
            parsed.append(rule)
    return parsed, tuple(problems)


def _parse(statement: str) -> tuple[dict[str, Any] | None, list[str]]:
    """One rule's tree, or None and what is wrong with it."""
    try:
        document = json.loads(cedarpy.policies_to_json_str(statement))
    except ValueError as error:
        return None, [f"this is not a Cedar rule: {error}"]
    if document.get("templates") or len(document["staticPolicies"]) != 1:
        return None, ["a template is not a rule: write the principal and resource out"]
    result = cedarpy.validate_policies(statement, schema())  # pyright: ignore[reportUnknownMemberType]
    if not result.validation_passed or result.errors:
        return None, [_readable(result.errors)]
    tree: dict[str, Any] = next(iter(document["staticPolicies"].values()))
    notes = tree.setdefault("annotations", {})
    missing = [name for name in ("id", "reason") if not notes.get(name)]
    if missing:
        return None, [f'every rule says who it is and why: add @{name}("…")' for name in missing]
    return tree, []


def _readable(errors: Sequence[cedarpy.ValidationError]) -> str:
    """The validator's messages, which repeat themselves for every action, once each."""
    texts = {re.sub(r'^for policy `\w+`[,:] | for Action::"\w+"', "", error.error) for error in errors}
    return "; ".join(sorted(texts)) or "this rule does not fit the schema"


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each rule with the line it begins on. What follows the last semicolon counts as a rule too,
    so that a forgotten semicolon is an error and not a rule left out."""
    start = 0
    ends = [token.end() for token in _TOKEN.finditer(text) if token.group() == ";"]
    for end in (*ends, len(text)):
        blank = _BLANK.match(text, start, end)
        begin = blank.end() if blank else start
        if begin < end:
            yield text.count("\n", 0, begin) + 1, text[begin:end]
        start = end


def _rule(id: str, tree: dict[str, Any]) -> Rule:
    notes: dict[str, str] = tree["annotations"]
    return Rule(id, tree["effect"], notes["reason"], notes.get("citation") or "", notes.get("fix") or "")


def _policy_set(trees: Mapping[str, dict[str, Any]]) -> cedarpy.PolicySet:
    document: dict[str, object] = {"templates": {}, "staticPolicies": dict(trees), "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(document))


def _schema_text() -> str:
    return (_SETS / "schema.cedarschema").read_text(encoding="utf-8")


def _nodes(tree: Any) -> Iterator[Any]:
    """Every node of a JSON tree, keys included."""
    yield tree
    if isinstance(tree, dict):
        mapping = cast("dict[str, Any]", tree)
        yield from mapping
        for value in mapping.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in cast("list[Any]", tree):
            yield from _nodes(value)


def _strings(tree: Any) -> Iterator[str]:
    return (node for node in _nodes(tree) if isinstance(node, str))


def _objects(tree: Any) -> Iterator[dict[str, Any]]:
    return (cast("dict[str, Any]", node) for node in _nodes(tree) if isinstance(node, dict))


def _literals(tree: Any) -> Iterator[str]:
    return (node["Value"] for node in _objects(tree) if isinstance(node.get("Value"), str))


def _sought(tree: Any, attribute: str) -> Iterator[str]:
    """String literals that some rule looks for in this set of the question."""
    held = {".": {"left": {"Var": "context"}, "attr": attribute}}
    for node in _objects(tree):
        for verb in ("contains", "containsAll", "containsAny"):
            if verb in node and node[verb]["left"] == held:
                yield from _literals(node[verb]["right"])
