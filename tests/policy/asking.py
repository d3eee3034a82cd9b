"""Questions the tests of this room ask, and a hypothesis strategy for any of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from hypothesis import strategies as st

from gateway.core.classes import DataClass
from gateway.core.gate import Action, Attestation, GateRequest

TODAY = date(2026, 11, 22)

# A provider that keeps every promise a shipped rule asks about.
GOOD = {
    "hipaa_eligible": True,
    "hipaa_requires": ("baa", "modified_retention"),
    "trains_on_data": False,
    "zero_retention": True,
}

MANAGED = GateRequest(
    action=Action.UPLOAD,
    team="notes",
    backend="cloud",
    kind="managed",
    model="a-model",
    region="us-1",
    offer="standard",
    residency="us",
    handling=GOOD,
    data_class=DataClass.PHI,
    scanned=True,
    tags=(),
    purpose=None,
    asked_residency="any",
    attestations=(),
    as_of=TODAY,
)
LOCAL = replace(
    MANAGED, backend="local", kind="local", residency="local", handling={"business_associate": False}
)


def signed(*kinds: str, backend: str = "cloud", days: int = 100) -> tuple[Attestation, ...]:
    """Agreements that began and end this many days before and after today."""
    span = timedelta(days=days)
    return tuple(Attestation(kind, backend, TODAY - span, TODAY + span) for kind in kinds)


_KINDS = ("baa", "modified_retention", "dpa", "qsoa", "scc", "existing_account")
_DAYS = st.integers(-400, 400).map(lambda days: TODAY + timedelta(days=days))


@st.composite
def _attestations(draw: st.DrawFn) -> Attestation:
    first, last = sorted((draw(_DAYS), draw(_DAYS)))
    return Attestation(
        kind=draw(st.sampled_from(_KINDS)),
        backend=draw(st.sampled_from(("cloud", "cloud", "cloud", "other"))),
        signed=first,
        expires=draw(st.sampled_from((last, None))),
        account=draw(st.sampled_from(("", "", "ours", "theirs"))),
        services=draw(st.sampled_from(((), (), (Action.UPLOAD, Action.TRAIN), (Action.INFER,)))),
        void=draw(st.sampled_from(("", "", "", "its evidence was altered"))),
    )


_HANDLING = st.fixed_dictionaries(
    {},
    optional={
        "hipaa_eligible": st.booleans(),
        "hipaa_requires": st.lists(st.sampled_from(_KINDS[:3]), max_size=2).map(tuple),
        "trains_on_data": st.booleans(),
        "zero_retention": st.booleans(),
        "business_associate": st.booleans(),
    },
)

REQUESTS = st.builds(
    GateRequest,
    action=st.sampled_from(Action),
    team=st.sampled_from(("notes", "research")),
    backend=st.just("cloud"),
    kind=st.sampled_from(("managed", "managed", "managed", "local")),
    model=st.just("a-model"),
    region=st.just("us-1"),
    offer=st.just("standard"),
    residency=st.sampled_from(("us", "eu", "global", "local")),
    handling=st.one_of(_HANDLING, st.just(GOOD)),
    data_class=st.sampled_from(DataClass),
    scanned=st.sampled_from((True, True, False)),
    tags=st.lists(st.sampled_from(("part2", "gdpr-art9", "copyrighted")), max_size=2).map(tuple),
    purpose=st.sampled_from((None, "research")),
    asked_residency=st.sampled_from(("any", "any", "us", "eu", "de")),
    attestations=st.one_of(
        st.lists(_attestations(), max_size=4).map(tuple),
        st.sets(st.sampled_from(_KINDS)).map(lambda kinds: signed(*sorted(kinds))),
    ),
    as_of=st.just(TODAY),
    account=st.sampled_from(("ours", "ours", "")),
    approvals=st.sampled_from(((), (), ("privacy-officer",), ("alice", "privacy-officer"), ("alice",))),
)
