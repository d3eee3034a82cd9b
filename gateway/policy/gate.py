"""The gate itself: one engine, asked every time, that opens only on a clean allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path

import orjson

from gateway.core.errors import SettingsError
from gateway.core.gate import USUAL_SETS, Decision, GateRequest, Ground, Trust
from gateway.policy.engine import REMEMBERED, Verdict, judge_of
from gateway.policy.question import cedar_request, held
from gateway.policy.rules import Rule, RuleBook, load_rules, set_path, shipped_sets
from gateway.policy.steps import Step, in_words, provider, steps, take

# How the rules' origin stands on a day, and what denies everything managed where it does not hold.
Standing = Callable[[date], tuple[Trust, Ground | None]]


def unverified(day: date) -> tuple[Trust, Ground | None]:
    """No key is pinned: rules and agreements are as whoever runs jobs wrote them."""
    return "unverified", None


def load_gate(extra: Sequence[Path] = (), *, sets: Sequence[str] = USUAL_SETS) -> CedarGate:
    """A gate over shipped policy sets and an organisation's own files.

    Args:
        extra: Cedar files checked against the shipped schema; see `sets/schema.cedarschema`.
        sets: names from `shipped_sets()`. With no rule at all, everything is denied.

    Raises:
        SettingsError: an unknown set, a missing file, a file named as a shipped set is, or a rule
            that does not parse or validate; its place is the file and the line.
    """
    for path in extra:
        if path.name in shipped_sets():  # records tell whose rules decided by these names
            raise SettingsError(
                f"a policy file may not be called as the shipped set {path.name!r} is",
                place=str(path),
                fix=f"rename it to `{path.name}.cedar`",
            )
    names = (*sets, *(path.name for path in extra))
    return CedarGate(load_rules([*map(set_path, sets), *extra]), names)


class CedarGate:
    """Answers every `GateRequest` by the rules it was loaded with; `gateway.core.gate.Gate`.

    An allow needs all of: the engine's decision is Allow, it reports no error, it names the rule
    that permits, the question fits the schema, and nothing was raised. Equal questions are asked
    of the engine once.

    Args:
        standing: whether the rules came from a signed, pinned bundle, and whether that holds on a day.

    Attributes:
        policy_hash: SHA-256 over the rules and their schema.
        rules: where the rules came from: names of shipped sets, file names of others.
        attested_in: where agreements are written down, in words.
    """

    def __init__(
        self,
        book: RuleBook,
        rules: Sequence[str] = (),
        *,
        standing: Standing = unverified,
        attested_in: str = "tunegate.toml",
    ) -> None:
        self.book = book
        self.attested_in = attested_in
        self.rules = tuple(dict.fromkeys(rules))
        self.policy_hash = book.hash
        self._standing = standing
        self._every = judge_of(book.every)
        self._permits = judge_of(book.permits)
        self._decisions: dict[object, Decision] = {}

    def decide(self, request: GateRequest) -> Decision:
        """The answer, with every ground for it. Never raises: what cannot be judged is denied."""
        try:
            # The engine never sees dates of lapsed agreements or titles, but the grounds tell them.
            question = (self._key(request), held(request), request.account, request.as_of, provider(request))
            decision = self._decisions.get(question)
            if decision is None:
                decision = self._decided(request)
                if len(self._decisions) >= REMEMBERED:
                    self._decisions.clear()
                self._decisions[question] = decision
        except Exception:
            return self._decision(False, (_unjudged(),), "unverified")
        return decision

    def decide_many(self, requests: Iterable[GateRequest]) -> tuple[Decision, ...]:
        """The answers to many questions, in their order."""
        return tuple(map(self.decide, requests))

    def verdict(self, request: GateRequest) -> Verdict:
        """The engine's bare answer, over all rules, without grounds. Never raises."""
        try:
            if self._distrust(request) is not None:
                return Verdict(False, ())
            return self._every(self._key(request))
        except Exception:
            return Verdict(False, (), judged=False)

    def steps(self, request: GateRequest) -> tuple[Step, ...]:
        """What could be otherwise about this question, as far as these rules may care."""
        return steps(request, self.book)

    def _key(self, request: GateRequest) -> bytes:
        return orjson.dumps(cedar_request(request, self.book.words))

    def _decision(
        self, allowed: bool, grounds: tuple[Ground, ...], trust: Trust, awaiting: tuple[str, ...] = ()
    ) -> Decision:
        return Decision(allowed, grounds, self.policy_hash, trust, awaiting)

    def _distrust(self, request: GateRequest) -> Ground | None:
        """What denies this question before any rule is tried: rules nobody vouches for open no door."""
        return None if request.kind == "local" else self._standing(request.as_of)[1]

    def _decided(self, request: GateRequest) -> Decision:
        trust, _ = self._standing(request.as_of)
        if (distrust := self._distrust(request)) is not None:
            return self._decision(False, (distrust,), trust)
        verdict = self.verdict(request)
        if not verdict.judged:
            return self._decision(False, (_unjudged(),), trust)
        rules = [self.book.rules[id] for id in verdict.rules]
        if verdict.allowed:
            return self._decision(True, tuple(_ground(rule, request) for rule in rules), trust)
        return self._decision(False, self._why_denied(request, rules), trust, self._awaiting(request))

    def _awaiting(self, request: GateRequest) -> tuple[str, ...]:
        """Whose approvals alone would turn this deny: as few as will do; none where more is missing."""
        needed = [step for step in self.steps(request) if step.kind == "approval"]
        if not needed or not self.verdict(take(request, needed)).allowed:
            return ()
        for step in tuple(needed):
            rest = [other for other in needed if other is not step]
            needed = rest if self.verdict(take(request, rest)).allowed else needed
        return tuple(sorted(set(take(request, needed).approvals) - set(request.approvals)))

    def _why_denied(self, request: GateRequest, forbids: list[Rule]) -> tuple[Ground, ...]:
        """Every rule that forbids; and, where no rule permits either, what each permit lacked.

        A forbid that one lack alone would lift is told once, in the lack's plainer words.
        """
        if self._permits(self._key(request)).allowed:  # the forbids alone stand in the way
            return tuple(_ground(rule, request) for rule in forbids)
        permit, lacks = self._lacks(request)
        if not lacks:
            return (*(_ground(rule, request) for rule in forbids), _no_permit(request))
        told: dict[str, int] = {}
        for index, step in enumerate(lacks):
            left = self.verdict(step.apply(request)).rules
            told.update({rule.id: index for rule in forbids if rule.id not in left})
        grounds = [_ground(rule, request) for rule in forbids if rule.id not in told]
        for index, step in enumerate(lacks):
            rules = [rule for rule in forbids if told.get(rule.id) == index] or [self.book.rules[permit]]
            fix = in_words([step], self.attested_in)
            grounds += [Ground(r.id, _sentence(step.reason), r.citation, fix) for r in rules]
        return tuple(grounds)

    def _lacks(self, request: GateRequest) -> tuple[str, tuple[Step, ...]]:
        """A permit that comes closest, and the smallest set of steps without which it stays shut.

        Found by taking every step, then leaving out what is not needed, as long as something still
        permits. The data itself is not changed: its class is why the question is asked.
        """

        def permitted(chosen: Sequence[Step]) -> tuple[str, ...]:
            return self._permits(self._key(take(request, chosen))).rules

        needed = [step for step in self.steps(request) if step.kind != "data"]
        if not permitted(needed):
            return "", ()
        # Whole kinds first: mostly a fact or a place is not what is missing.
        for kind in ("fact", "place", "scan"):
            rest = [step for step in needed if step.kind != kind]
            needed = rest if len(rest) < len(needed) and permitted(rest) else needed
        for step in tuple(needed):
            rest = [other for other in needed if other is not step]
            needed = rest if permitted(rest) else needed
        return permitted(needed)[0], tuple(needed)


def _ground(rule: Rule, request: GateRequest) -> Ground:
    return Ground(rule.id, _filled(rule.reason, request), rule.citation, _filled(rule.fix, request))


def _filled(text: str, request: GateRequest) -> str:
    """A rule's words with the question's own put in; other braces stay as they are."""
    names = {
        "{backend}": provider(request),
        "{asked_residency}": request.asked_residency,
        "{residency}": request.residency,
        "{class}": str(request.data_class),
    }
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _no_permit(request: GateRequest) -> Ground:
    return Ground(
        "default-deny",
        f"No rule in force permits `{request.action}` of `{request.data_class}` data at {provider(request)}.",
        fix="train on your own machine, or have whoever keeps the policies add a rule that permits it",
    )


def _unjudged() -> Ground:
    return Ground(
        "gate.error",
        "The gate could not judge this question: something in it is missing or not of its type.",
        fix="check the spec, the backend's facts and the policies (`tunegate policy check`)",
    )
