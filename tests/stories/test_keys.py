"""The keys that sign records: made on first use, replaced one by one, and old records still verify."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.core.errors import RecordError
from gateway.records import RecordLog, SigningKey, load_or_create_key
from gateway.records.keys import Passphrase, Signer, open_signer, public_keys, read_key, write_key
from gateway.records.rotation import finish_rotation
from tests.records.conftest import clock, fill
from tests.stories.conftest import User


def log_of(user: User, key: Signer | None = None) -> RecordLog:
    return RecordLog(user.home / "records", key or load_or_create_key(user.home / "keys"), clock)


def signers(user: User) -> list[str]:
    """Ids of the keys that signed the account, in order."""
    log = log_of(user)
    return [log.show(entry.sequence)["key_id"] for entry in log.entries()]


def test_one_key_follows_another_and_old_records_verify(user: User) -> None:
    fill(log_of(user), 2)
    first = user.json("records", "key", "show")["id"]
    done = user.json("records", "key", "rotate", "--why", "yearly")
    assert done["retired"] == first
    fill(log_of(user), 1)
    second = user.json("records", "key", "show")["id"]
    assert second == done["successor"] != first
    assert signers(user) == [first, first, first, second]  # the old key's last record names the new one
    user.tunegate("records", "verify")
    statement = json.loads(user.tunegate("records", "show", "3").stdout)["statement"]
    assert statement["predicate"]["successor"] == second
    assert statement["predicate"]["why"] == "yearly"
    assert len(list((user.home / "keys").glob("*.pem"))) == 1  # the old private half is gone


def test_a_rotated_key_may_have_a_passphrase_and_reading_asks_for_none(user: User) -> None:
    fill(log_of(user), 1)
    user.env["TUNEGATE_PASSPHRASE"] = "four horses in a boat"
    user.tunegate("records", "key", "rotate", "--passphrase")
    assert "ENCRYPTED" in (user.home / "keys" / "record-key.pem").read_text()
    user.tunegate("records", "key", "rotate", "--passphrase")
    del user.env["TUNEGATE_PASSPHRASE"]
    user.tunegate("records", "verify")
    told = user.tunegate("records", "key", "rotate", code=2).stderr
    assert "passphrase_env" in told
    assert len(signers_by(user, "four horses in a boat")) == 3


def signers_by(user: User, passphrase: str) -> list[str]:
    key = load_or_create_key(user.home / "keys", lambda place: passphrase)
    return [entry.kind for entry in log_of(user, key).entries()]


@pytest.mark.parametrize("told", [False, True])
def test_a_rotation_that_was_cut_off_is_finished_or_begun_anew(user: User, told: bool) -> None:
    """Killed between writing the new key and putting it in its place: before the account was told of it,
    or after."""
    log = log_of(user)
    fill(log, 1)
    old, new = load_or_create_key(user.home / "keys"), SigningKey.generate()
    waiting = user.home / "keys" / f"next-{new.id}.pem"
    waiting.write_bytes(new.private_pem())
    waiting.chmod(0o600)
    if told:
        log.rotate(new, why="yearly")
    assert user.json("records", "key", "show")["id"] == (new.id if told else old.id)
    user.tunegate("records", "key", "rotate")
    fill(log_of(user), 1)
    user.tunegate("records", "verify")
    assert not list((user.home / "keys").glob("next-*"))
    finish_rotation(log_of(user), user.home / "keys")  # nothing is left to finish


def test_a_process_that_still_holds_the_old_key_cannot_sign_with_it(user: User) -> None:
    stale = log_of(user)
    fill(stale, 1)
    user.tunegate("records", "key", "rotate")
    with pytest.raises(RecordError, match="retired"):
        fill(stale, 1)
    user.tunegate("records", "verify")


def test_a_key_that_the_settings_name_is_followed_by_one_that_is_named(user: User) -> None:
    for name in ("one", "two"):
        user.tunegate("records", "key", "new", f"{name}.pem", "--no-passphrase")
    user.write("tunegate.toml", '[signing]\nkey = "one.pem"\n')
    one = user.json("records", "key", "show")["id"]
    assert "--to" in user.tunegate("records", "key", "rotate", code=2).stderr
    told = user.tunegate("records", "key", "rotate", "--to", "two.pem").stderr
    assert 'key = "two.pem"' in told
    user.write("tunegate.toml", '[signing]\nkey = "two.pem"\n')
    assert user.json("records", "key", "show")["id"] != one
    user.tunegate("records", "verify")
    assert not (user.home / "keys" / "record-key.pem").exists()


NOBODY: Passphrase = lambda place: None  # noqa: E731


def opened(name: str, folder: Path, variables: dict[str, str] | None = None) -> Signer:
    return open_signer(name, folder=folder, variable=(variables or {}).get, passphrase=NOBODY)


def test_a_key_pair_is_written_once_and_privately(tmp_path: Path) -> None:
    key = SigningKey.generate()
    public = write_key(tmp_path / "officer.pem", key)
    assert (tmp_path / "officer.pem").stat().st_mode & 0o777 == 0o600
    assert set(public_keys(public.read_text())) == {key.id}
    assert opened("officer.pem", tmp_path).id == key.id
    with pytest.raises(RecordError, match="exists"):
        write_key(tmp_path / "officer.pem", key)
    (tmp_path / "officer.pem").unlink()
    with pytest.raises(RecordError, match="exists"):  # nor is a public half left without its private one
        write_key(tmp_path / "officer.pem", key)
    assert not (tmp_path / "officer.pem").exists()


def test_a_plain_key_that_others_may_read_is_refused_and_an_encrypted_one_is_not(tmp_path: Path) -> None:
    key = SigningKey.generate()
    write_key(tmp_path / "plain.pem", key)
    (tmp_path / "plain.pem").chmod(0o644)
    with pytest.raises(RecordError, match="others may read"):
        opened("plain.pem", tmp_path)
    write_key(tmp_path / "locked.pem", key, "secret words")
    (tmp_path / "locked.pem").chmod(0o644)
    assert read_key(tmp_path / "locked.pem", lambda place: "secret words").id == key.id


@pytest.mark.parametrize(
    "name", ["absent.pem", "env:ABSENT", "signer:absent:x", "garbage.pem", "env:GARBAGE"]
)
def test_what_is_no_key_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "garbage.pem").write_text("canary-7731")
    (tmp_path / "garbage.pem").chmod(0o600)
    with pytest.raises(RecordError) as caught:
        opened(name, tmp_path, {"GARBAGE": "canary-7731"})
    assert caught.value.place
    assert "canary" not in str(caught.value)


def test_a_file_of_public_keys_counts_whole_or_not_at_all() -> None:
    one, two = SigningKey.generate(), SigningKey.generate()
    assert set(public_keys(one.public_pem + two.public_pem)) == {one.id, two.id}
    assert public_keys(one.public_pem + one.private_pem().decode()) == {}
    assert public_keys(one.public_pem.replace("MCow", "MCoX")) == {}
    assert public_keys("") == {}
