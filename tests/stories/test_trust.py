"""An officer keeps what grants permission; whoever runs jobs cannot write it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway import Gateway, settings
from gateway.policy import rules
from gateway.records.envelope import seal
from gateway.records.keys import SigningKey, read_key
from tests.stories.conftest import User, easy_rows

BAA = """
[[attestations]]
kind = "baa"
backend = "bedrock"
signed = 2026-03-01
expires = 2027-03-01
"""
POLICY = """
@id("ours.no-nova") @reason("Nova is not approved.") @citation("House") @fix("Take another.")
forbid (principal, action, resource) when { context.candidate.model == "nova-lite" };
"""


@pytest.fixture
def spec(user: User) -> Path:
    user.chats("data.jsonl", easy_rows())
    return user.spec("route: {backends: [bedrock, local]}\n", model="nova-lite", **{"class": "phi"})


@pytest.fixture
def officer(user: User) -> Path:
    """The officer's key, and a folder with one agreement."""
    user.tunegate("records", "key", "new", "officer.pem", "--no-passphrase")
    user.write("trust/trust.toml", BAA)
    return user.folder / "trust"


def sign(user: User, *options: str, to: str = "trust.bundle") -> None:
    user.tunegate("policy", "sign", "trust", "--key", "officer.pem", "--out", to, *options)


def pin(user: User) -> None:
    user.tunegate("policy", "trust", "trust.bundle", "--key", "officer.pub")


def judged(user: User, spec: Path, *options: str) -> tuple[dict[str, Any], set[str]]:
    """The plan, and the rules that deny Bedrock in it."""
    plan = user.json("plan", spec, *options)
    reasons = [r for c in plan["candidates"] if c["backend"] == "bedrock" for r in c["reasons"]]
    return plan, {reason["rule"] for reason in reasons if reason["verdict"] == "denied"}


def test_without_a_pin_the_settings_grant_permission_and_everything_says_so(user: User, spec: Path) -> None:
    plan, rules = judged(user, spec)
    assert "hipaa.no-baa" in rules
    user.write("tunegate.toml", BAA)
    plan, rules = judged(user, spec)
    assert rules == set()
    assert plan["trust"] == "unverified"
    assert "unverified" in user.tunegate("plan", spec).stdout
    assert "unverified" in user.tunegate("policy", "check").stderr
    rows = {row["check"]: row["state"] for row in user.json("backends", "doctor", code=1)}
    assert rows["trust bundle"] == "unverified"


def test_with_a_pin_nobody_writes_their_own_agreement(user: User, spec: Path, officer: Path) -> None:
    (officer / "trust.toml").write_text("")
    sign(user)
    pin(user)
    user.write("tunegate.toml", BAA + '[policy]\nsets = ["baseline"]\n')
    plan, rules = judged(user, spec)
    assert "hipaa.no-baa" in rules
    assert plan["trust"] == "verified"
    assert plan["rules"] == ["baseline", "hipaa"]
    assert any("ignored" in warning for warning in plan["warnings"])
    shown = user.tunegate("plan", spec).stdout
    assert "are ignored" in " ".join(shown.split())
    denied, *_ = user.json("policy", "explain", spec)
    assert "in the trust bundle" in denied["grounds"][0]["fix"]  # where to attest it, told right


def test_a_bundle_grants_what_the_officer_signed(user: User, spec: Path, officer: Path) -> None:
    sign(user)
    pin(user)
    plan, rules = judged(user, spec)
    assert rules == set()
    assert plan["trust"] == "verified"
    assert "verified" in user.tunegate("policy", "check").stderr
    assert {row["check"]: row["state"] for row in user.json("backends", "doctor", code=1)}[
        "trust bundle"
    ] == "ok"
    state = user.json("policy", "trust")
    assert state["trust"] == "verified"
    assert state["attestations"] == 1
    pinned = user.home / "trust" / "pin.json"
    assert pinned.stat().st_mode & 0o777 == 0o600


def test_the_officers_own_rules_are_in_force(user: User, spec: Path, officer: Path) -> None:
    user.write("trust/policies/ours.cedar", POLICY)
    sign(user)
    pin(user)
    (officer / "policies" / "ours.cedar").unlink()  # what was signed decides, not what lies there since
    plan, rules = judged(user, spec)
    assert rules == {"ours.no-nova"}
    assert plan["rules"] == ["baseline", "hipaa", "ours.cedar"]


def broken(user: User, spec: Path, why: str, *options: str) -> None:
    """Everything managed is denied for that reason, and one's own machine is not."""
    user.write("tunegate.toml", BAA)  # which changes nothing
    plan, rules = judged(user, spec, *options)
    assert rules == {"trust"}
    assert plan["trust"] == "broken"
    assert not plan["openings"]
    texts = [r["text"] for c in plan["candidates"] for r in c["reasons"] if r["rule"] == "trust"]
    assert texts
    assert all(why in text for text in texts)
    local = [c["decision"] for c in plan["candidates"] if c["backend"] == "local" and c["decision"]]
    assert all(decision["allowed"] for decision in local)


def test_an_unsigned_bundle_denies(user: User, spec: Path, officer: Path) -> None:
    sign(user)
    pin(user)
    (user.folder / "trust.bundle").write_text(json.dumps({"attestations": [{"kind": "baa"}]}))
    broken(user, spec, "is not an envelope")
    assert "is not an envelope" in user.tunegate("policy", "check", code=1).stdout
    rows = {row["check"]: row["state"] for row in user.json("backends", "doctor", code=1)}
    assert rows["trust bundle"] == "broken"
    assert user.json("policy", "trust", code=1)["trust"] == "broken"


def test_any_altered_byte_denies(user: User, spec: Path, officer: Path) -> None:
    sign(user)
    pin(user)
    bundle = user.folder / "trust.bundle"
    whole = bundle.read_bytes()
    for place in (20, len(whole) // 2, len(whole) - 20):
        changed = bytearray(whole)
        changed[place] = ord("A") if changed[place] != ord("A") else ord("B")
        bundle.write_bytes(changed)
        assert judged(user, spec)[1] == {"trust"}
    bundle.write_bytes(whole)
    assert judged(user, spec)[1] == set()


def test_a_bundle_of_another_key_denies(user: User, spec: Path, officer: Path) -> None:
    sign(user)
    pin(user)
    user.tunegate("records", "key", "new", "engineer.pem", "--no-passphrase")
    user.tunegate("policy", "sign", "trust", "--key", "engineer.pem", "--out", "trust.bundle")
    broken(user, spec, "unknown here")
    told = user.tunegate("policy", "trust", "trust.bundle", "--key", "engineer.pub", code=2).stderr
    assert "another key is pinned" in told


def test_an_expired_or_missing_bundle_denies(user: User, spec: Path, officer: Path) -> None:
    sign(user, "--expires", "2090-01-01")
    pin(user)
    broken(user, spec, "expired on 2090-01-01", "--as-of", "2090-01-02")
    (user.folder / "trust.bundle").unlink()
    broken(user, spec, "cannot be read")


def test_an_older_bundle_denies_once_a_newer_was_seen(user: User, spec: Path, officer: Path) -> None:
    sign(user, "--number", "7")
    old = (user.folder / "trust.bundle").read_bytes()
    pin(user)
    (officer / "trust.toml").write_text("")  # the agreement was withdrawn
    sign(user, "--number", "8")
    assert "hipaa.no-baa" in judged(user, spec)[1]
    (user.folder / "trust.bundle").write_bytes(old)
    broken(user, spec, "number 8 was seen before")
    told = user.tunegate("policy", "sign", "trust", "--key", "officer.pem", "--number", "7", code=2).stderr
    assert "must bear a higher" in told


def test_two_bundles_of_one_number_are_told_apart(user: User, spec: Path, officer: Path) -> None:
    (officer / "trust.toml").write_text("")
    sign(user, "--number", "7")
    pin(user)
    (officer / "trust.toml").write_text(BAA)
    sign(user, "--number", "7", to="other.bundle")
    (user.folder / "other.bundle").replace(user.folder / "trust.bundle")
    broken(user, spec, "two trust bundles bear the number 7")


@pytest.mark.parametrize("damage", ["pin.json", "seen.json"])
def test_a_damaged_pin_is_still_a_pin(user: User, spec: Path, officer: Path, damage: str) -> None:
    sign(user)
    pin(user)
    (user.home / "trust" / damage).write_text("{")
    broken(user, spec, "cannot be read")


def test_a_pin_that_others_may_write_is_none_to_rely_on(user: User, spec: Path, officer: Path) -> None:
    sign(user)
    pin(user)
    (user.home / "trust" / "pin.json").chmod(0o666)
    broken(user, spec, "the pinned key cannot be read")


def test_a_projects_own_pin_gives_way_to_the_homes(user: User, spec: Path, officer: Path) -> None:
    (officer / "trust.toml").write_text("")
    sign(user)
    pin(user)
    user.tunegate("records", "key", "new", "engineer.pem", "--no-passphrase")
    user.write("theirs/trust.toml", BAA)
    user.tunegate("policy", "sign", "theirs", "--key", "engineer.pem", "--out", "theirs.bundle")
    user.write("tunegate.toml", '[trust]\nkey = "engineer.pub"\nbundle = "theirs.bundle"\n')
    plan, rules = judged(user, spec)
    assert "hipaa.no-baa" in rules
    assert any("stands above" in warning for warning in plan["warnings"])
    user.tunegate("policy", "trust", "--forget", code=2)  # nobody is here to be asked
    user.tunegate("policy", "trust", "--forget", "--yes")
    assert judged(user, spec)[1] == set()  # the project's own pin holds where there is no other


def test_an_administrators_pin_stands_above_all(
    user: User, spec: Path, officer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(user)
    pin(user)  # the engineer's own, by a key of their own
    system = tmp_path / "etc"
    system.mkdir()
    monkeypatch.setattr(settings, "SYSTEM_FOLDER", system)
    user.tunegate("records", "key", "new", "admin.pem", "--no-passphrase")
    (user.folder / "admin.pub").rename(system / "trust.pub")
    user.write("none/trust.toml", "")
    user.tunegate("policy", "sign", "none", "--key", "admin.pem", "--out", system / "trust.bundle")
    plan, rules = judged(user, spec)
    assert "hipaa.no-baa" in rules
    assert plan["trust"] == "verified"
    user.tunegate("policy", "trust", "--forget", "--yes")
    assert "hipaa.no-baa" in judged(user, spec)[1]
    (system / "trust.pub").write_text("")  # cut off by a full disk
    broken(user, spec, "the pinned key cannot be read")


def test_what_an_officer_signs_by_mistake_is_refused_before_it_is_signed(user: User, officer: Path) -> None:
    cases = {
        "trust.toml": ("[[attestations]]\nkind = 'baa'\n", "attestations[1].backend"),
        "policies/ours.cedar": ("permit (principal, action, resource);", "@id"),
    }
    for name, (text, told) in cases.items():
        before = (officer / name).read_text() if (officer / name).exists() else None
        user.write(f"trust/{name}", text)
        assert told in user.tunegate("policy", "sign", "trust", "--key", "officer.pem", code=2).stderr
        if before is None:
            (officer / name).unlink()
        else:
            (officer / name).write_text(before)
    again = ("policy", "sign", "trust", "--key", "officer.pem")
    assert "never hold" in user.tunegate(*again, "--expires", "2020-01-01", code=2).stderr
    (officer / "trust.toml").write_text(BAA.replace('"baa"', '"baaa"'))
    assert "did you mean 'baa'?" in user.tunegate(*again, code=2).stderr
    assert not (user.folder / "trust.bundle").exists()


def test_evidence_is_held_to_what_was_attested(user: User, spec: Path) -> None:
    user.write("legal/baa.pdf", b"the signed agreement")
    digest = hashlib.sha256(b"the signed agreement").hexdigest()
    user.write("tunegate.toml", f'{BAA}evidence = "legal/baa.pdf"\nevidence_sha256 = "{digest}"\n')
    assert judged(user, spec)[1] == set()
    user.write("legal/baa.pdf", b"another agreement")
    plan, rules = judged(user, spec)
    assert "hipaa.no-baa" in rules
    reasons = [r["text"] for c in plan["candidates"] for r in c["reasons"] if r["rule"] == "hipaa.no-baa"]
    assert any("baa.pdf is not the file that was attested" in text for text in reasons)
    (user.folder / "legal" / "baa.pdf").unlink()  # not at hand: it cannot be checked
    assert judged(user, spec)[1] == set()


def test_an_agreement_covers_its_account_and_its_services(user: User, spec: Path) -> None:
    options = '[options.bedrock]\nrole_arn = "arn:aws:iam::{}:role/tune"\n'
    ours = BAA + 'account = "111111111111"\n'
    user.write("tunegate.toml", ours + options.format("111111111111"))
    assert judged(user, spec)[1] == set()
    user.write("tunegate.toml", ours + options.format("222222222222"))
    plan, rules = judged(user, spec)
    assert "hipaa.no-baa" in rules
    texts = [r["text"] for c in plan["candidates"] for r in c["reasons"] if r["rule"] == "hipaa.no-baa"]
    assert any("covers the account `111111111111`" in text for text in texts)
    user.write("tunegate.toml", BAA + 'services = ["infer"]\n')
    assert "hipaa.no-baa" in judged(user, spec)[1]
    user.write("tunegate.toml", BAA + 'services = ["upload", "train", "infer"]\n')
    assert judged(user, spec)[1] == set()


def test_an_agreement_that_ends_soon_is_a_warning(user: User, spec: Path) -> None:
    user.write("tunegate.toml", BAA)
    assert user.json("plan", spec, "--as-of", "2027-01-29")["warnings"] == []
    warnings = user.json("plan", spec, "--as-of", "2027-01-30")["warnings"]
    assert warnings == ["the attestation `baa` for bedrock expires on 2027-03-01"]
    assert "hipaa.no-baa" in judged(user, spec, "--as-of", "2027-03-02")[1]


def test_what_names_no_backend_is_told(user: User, spec: Path) -> None:
    user.write("tunegate.toml", '[options.bedrok]\nrole_arn = "x"\n' + BAA.replace("bedrock", "bedrokk"))
    told = user.tunegate("policy", "check", code=1).stdout
    assert "options.bedrok: no backend is called so; did you mean 'bedrock'?" in told
    assert "no backend is called 'bedrokk'" in told
    rows = [row for row in user.json("backends", "doctor", code=1) if row["check"] == "settings"]
    assert len(rows) == 2


def test_a_statement_signed_for_something_else_is_no_bundle(user: User, spec: Path, officer: Path) -> None:
    sign(user)
    pin(user)
    key = read_key(user.folder / "officer.pem", lambda place: None)
    other: dict[str, Any] = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [],
        "predicateType": "x",
        "predicate": {},
    }
    (user.folder / "trust.bundle").write_bytes(seal(other, key))
    broken(user, spec, "is not a trust bundle")


def test_an_officers_key_may_have_a_passphrase(user: User, spec: Path) -> None:
    user.write("trust/trust.toml", BAA)
    told = user.tunegate("records", "key", "new", "officer.pem", code=2).stderr
    assert "TUNEGATE_PASSPHRASE" in told
    user.env["TUNEGATE_PASSPHRASE"] = "four horses in a boat"
    user.tunegate("records", "key", "new", "officer.pem")
    assert "ENCRYPTED" in (user.folder / "officer.pem").read_text()
    sign(user)
    user.env["TUNEGATE_PASSPHRASE"] = "wrong"
    told = user.tunegate("policy", "sign", "trust", "--key", "officer.pem", code=2).stderr
    assert "passphrase is wrong" in told
    assert "horses" not in told
    del user.env["TUNEGATE_PASSPHRASE"]
    told = user.tunegate("policy", "sign", "trust", "--key", "officer.pem", code=2).stderr
    assert "nobody is here to be asked" in told
    pin(user)  # needs the public half alone
    assert judged(user, spec)[1] == set()
    assert all(b"horses" not in file.read_bytes() for file in user.files())


def test_an_officers_key_may_be_in_a_variable(user: User) -> None:
    user.write("trust/trust.toml", BAA)
    user.env["OFFICER_KEY"] = SigningKey.generate().private_pem().decode()
    user.tunegate("policy", "sign", "trust", "--key", "env:OFFICER_KEY")
    assert "not set" in user.tunegate("policy", "sign", "trust", "--key", "env:NOBODYS", code=2).stderr


SIGNER = """
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

class Token:
    def __init__(self, slot):
        self._key = Ed25519PrivateKey.from_private_bytes(slot.encode().ljust(32))
        self._broken = slot == "broken"

    def public_key(self):
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, form)

    def sign(self, message):
        if self._broken:
            return bytes(64)
        return self._key.sign(message)

def open_token(slot):
    if slot == "absent":
        raise RuntimeError("PIN 1234 is wrong")
    return Token(slot)
"""


def test_an_officers_key_may_be_one_that_cannot_be_read(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package, as a maker of hardware tokens would publish it, is found by its entry point."""
    user.write("site/made_token.py", SIGNER)
    user.write(
        "site/made_token-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: made-token\nVersion: 1\n"
    )
    user.write(
        "site/made_token-1.dist-info/entry_points.txt", "[tunegate.signers]\ntoken = made_token:open_token\n"
    )
    user.env["PYTHONPATH"] = str(user.folder / "site") + os.pathsep + str(Path.cwd())
    user.write("trust/trust.toml", BAA)
    user.outside("policy", "sign", "trust", "--key", "signer:token:slot-0")
    assert (user.folder / "trust.bundle").exists()
    monkeypatch.setattr(sys, "path", [str(user.folder / "site"), *sys.path])
    told = user.tunegate("policy", "sign", "trust", "--key", "signer:token:broken", code=2).stderr
    assert "does not verify" in told
    told = user.tunegate("policy", "sign", "trust", "--key", "signer:token:absent", code=2).stderr
    assert "RuntimeError" in told
    assert "1234" not in told
    assert "token" in user.tunegate("policy", "sign", "trust", "--key", "signer:tokn:x", code=2).stderr
    user.write("tunegate.toml", '[signing]\nkey = "signer:token:slot-0"\n')
    shown = user.tunegate("records", "key", "show").stdout
    assert "signer:token:slot-0" in shown


def test_a_gateway_that_stays_open_learns_of_an_agreement_that_was_withdrawn(
    user: User, spec: Path, officer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server or worker asks the bundle of now, not of when it began."""
    sign(user)
    pin(user)
    gateway = Gateway(home=user.home, config=user.write("tunegate.toml", ""))

    def denied() -> bool:
        candidates = gateway.plan(spec).candidates
        decisions = [each.decision for each in candidates if each.key.backend == "bedrock"]
        return not any(decision.allowed for decision in decisions if decision)

    assert not denied()
    (officer / "trust.toml").write_text("")
    sign(user, "--number", "30000101000000")
    assert denied()
    assert gateway.policy.trust()["trust"] == "verified"
    (user.folder / "trust.bundle").unlink()
    assert gateway.policy.trust()["trust"] == "broken"
    gateway.policy.unpin()
    assert gateway.policy.trust()["trust"] == "unverified"


def test_an_upgrade_changes_no_signed_rule_and_says_that_the_shipped_one_moved_on(
    user: User, spec: Path, officer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (officer / "trust.toml").write_text("")
    sign(user)
    pin(user)
    shipped = tmp_path / "sets"
    shutil.copytree(rules._SETS, shipped)  # pyright: ignore[reportPrivateUsage]
    (shipped / "hipaa.cedar").write_text("// an upgrade that lets everything pass\n")
    schema = shipped / "schema.cedarschema"
    schema.write_text(schema.read_text() + "// and knows more\n")
    monkeypatch.setattr(rules, "_SETS", shipped)
    plan, denied = judged(user, spec)
    assert "hipaa.no-baa" in denied
    assert plan["trust"] == "verified"
    (shipped / "hipaa.cedar").write_text(
        '@id("hipaa.no-baa") @reason("Now otherwise.") forbid (principal, action, resource);'
    )
    told = user.tunegate("policy", "check").stderr
    assert "the shipped set `hipaa` changed since the bundle was signed" in told
    assert "what rules may ask about has changed" in told


def test_every_denied_candidate_of_the_demonstration_is_told_rule_citation_and_fix(user: User) -> None:
    demo = Path(__file__).parents[2] / "examples" / "clinical_notes"
    rows = (demo / "notes.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    user.write("notes.csv", "".join(rows[:400]))
    spec = user.write("job.yaml", (demo / "job.yaml").read_text(encoding="utf-8"))
    explained = user.json("policy", "explain", spec)
    assert len(explained) > 10
    for item in explained:
        assert item["grounds"]
        assert all(ground["rule"] and ground["citation"] and ground["fix"] for ground in item["grounds"])
    told = user.tunegate("policy", "explain", spec).stdout
    assert "· No BAA with Amazon Bedrock on file" in told
    assert "rule: hipaa.no-baa (45 CFR 164.502(e)(2), 164.308(b)(3))" in told
    assert "fix:  sign a BAA with Amazon Bedrock and attest it" in told
    assert all(item["candidate"] in told for item in explained)
