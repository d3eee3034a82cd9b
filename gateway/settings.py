"""Settings: `tunegate.toml`, found upwards from the working directory, and the environment.

The only reader of `os.environ`. Everything here is what the person who runs jobs may choose; what
*grants permission* (attestations, policies) is read here too, and is therefore unverified until it
comes from a signed bundle. Credentials are never read: each SDK's own chain finds them.

    team = "notes"                          # who asks, where the spec does not say
    user = "alice"                          # who runs jobs here; default: the account's name
    store = "sqlite:////srv/tunegate/jobs.db"  # default: a file in the home folder

    live_prices = true                      # use what `cost prices --live` read, where newer; default: no

    [policy]
    sets = ["baseline", "hipaa"]            # shipped sets in force
    files = ["policies/*.cedar"]            # an organisation's own, relative to this file
    determinations = ["signed/*.json"]      # what officers signed about datasets, beside the home folder's

    [budgets]
    job_usd = 100                           # caps on the high estimate; all optional
    team_month_usd = 1000

    [uploads]
    keep = true                             # leave training files at the backend; default: deleted at the end

    [local]                                 # how many jobs may train on this machine at once
    slots = 2                               # default: one for each GPU; without a GPU, one
    per_team = 1                            # of those, at most so many of one team

    [metrics]                               # training's numbers to a tracking server; default: nowhere
    mlflow = "http://127.0.0.1:5000"
    own = true                              # the server is the organisation's own, wherever it runs

    [options.vertex]                        # defaults for `options.<backend>` of every spec
    project = "my-project"

    [[prices]], [[discounts]], [[machines]]  # one's own: see `cost.entered`
    [project]                               # people's time, runs that fail: see `cost.project`

    [[attestations]]                        # what the operator vouches for
    kind = "baa"
    backend = "bedrock"
    signed = 2026-03-01
    expires = 2027-03-01
    evidence = "https://intranet.example/legal/aws-baa.pdf"

    [[approvers]]                           # whose signature counts: `gateway.policy.approvers`
    name = "bob"
    roles = ["privacy-officer"]
    key = "keys/bob.pub"

    [trust]                                 # an officer's bundle in place of all that grants permission
    key = "officer.pub"                     # a pin in the home folder or the system's stands above this one
    bundle = "trust.bundle"

    [signing]
    key = "signer:pkcs11:slot-0"            # what signs records; default: a key made in the home folder
    passphrase_env = "TUNEGATE_PASSPHRASE"  # where a key's passphrase is, when nobody can be asked

    [scan]
    ner = "models/deid"                     # a folder: a model that reads names beside the scan's rules

    [records]
    keep_years = 6                          # how long signed records are kept; default: HIPAA's six years
"""

from __future__ import annotations

import getpass
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cost.entered import Entered, entered_from
from cost.project import Project, project_from
from gateway.core.errors import SettingsError
from gateway.core.gate import USUAL_SETS, Attestation
from gateway.policy import Approver, Pin, approvers_from, attestations_from, pin_of

FILE_NAME = "tunegate.toml"
KEEP_YEARS = 6  # 45 CFR 164.316(b)(2)(i): six years from when it was made, or was last in effect

# Where an administrator pins a key for every user of a machine. No variable leads elsewhere: whoever
# runs jobs sets those.
SYSTEM_FOLDER = Path(
    {"darwin": "/Library/Application Support/tunegate", "win32": "C:/ProgramData/tunegate"}.get(
        sys.platform, "/etc/tunegate"
    )
)


@dataclass(frozen=True, slots=True)
class Budgets:
    """Caps in USD on high estimates; None means no cap."""

    job_usd: Decimal | None = None
    team_month_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Turns:
    """Jobs that may train on this machine at once, and of one team; None: one for each GPU, any number."""

    slots: int | None = None
    per_team: int | None = None


@dataclass(frozen=True, slots=True)
class Tracking:
    """An MLflow server's address; `own` where whoever wrote the settings vouches that it is the
    organisation's own, so that what goes there goes to nobody else."""

    server: str
    own: bool = False


@dataclass(frozen=True, slots=True)
class Signing:
    """What signs records, as `gateway.records.keys` names keys (empty: the home folder's own), and the
    variable that may hold a key's passphrase."""

    key: str = ""
    passphrase_env: str = "TUNEGATE_PASSPHRASE"  # noqa: S105 - a variable's name


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a gateway was told, defaults filled in. Paths are absolute."""

    home: Path
    file: Path | None = None
    team: str = "default"
    store: str = ""
    policy_sets: tuple[str, ...] = USUAL_SETS
    policy_files: tuple[Path, ...] = ()
    determination_files: tuple[Path, ...] = ()
    budgets: Budgets = field(default_factory=Budgets)
    attestations: tuple[Attestation, ...] = ()
    user: str = ""
    approvers: tuple[Approver, ...] = ()
    pin: Pin | None = None
    signing: Signing = field(default_factory=Signing)
    prices: Entered = field(default_factory=Entered)
    live_prices: bool = False
    project: Project | None = None
    keep_years: int = KEEP_YEARS
    ner: Path | None = None
    keep_uploads: bool = False
    turns: Turns = field(default_factory=Turns)
    tracking: Tracking | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    @property
    def folder(self) -> Path:
        """What relative names in the settings are meant from."""
        return self.file.parent if self.file else Path.cwd()

    @property
    def jobs_folder(self) -> Path:
        return self.home / "jobs"

    @property
    def store_url(self) -> str:
        return self.store or f"sqlite:///{self.home / 'jobs.db'}"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Policy(_Table):
    sets: tuple[str, ...] = USUAL_SETS
    files: tuple[str, ...] = ()
    determinations: tuple[str, ...] = ()


class _Uploads(_Table):
    keep: bool = False


class _Local(_Table):
    slots: int | None = Field(default=None, ge=1, le=1024)
    per_team: int | None = Field(default=None, ge=1)


class _Metrics(_Table):
    mlflow: str = Field(pattern=r"^https?://[^/@\s]+")
    own: bool = False


class _Budgets(_Table):
    job_usd: Decimal | None = Field(default=None, ge=0)
    team_month_usd: Decimal | None = Field(default=None, ge=0)


class _Trust(_Table):
    key: str = Field(min_length=1)
    bundle: str | None = Field(default=None, min_length=1)


class _Signing(_Table):
    key: str = ""
    passphrase_env: str = Field(default=Signing().passphrase_env, min_length=1)


class _Scan(_Table):
    ner: str | None = Field(default=None, min_length=1)


class _Records(_Table):
    keep_years: int = Field(default=KEEP_YEARS, ge=0, le=100)


class _File(_Table):
    team: str = Field(default="default", min_length=1, max_length=64)
    user: str = Field(default="", max_length=64)
    trust: _Trust | None = None
    signing: _Signing = _Signing()
    records: _Records = _Records()
    scan: _Scan = _Scan()
    approvers: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    store: str = ""
    live_prices: bool = False
    project: dict[str, Any] | None = None
    policy: _Policy = _Policy()
    budgets: _Budgets = _Budgets()
    uploads: _Uploads = _Uploads()
    local: _Local = _Local()
    metrics: _Metrics | None = None
    options: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    attestations: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    prices: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    discounts: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    machines: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])


def load_settings(
    config: str | Path | None = None, *, home: str | Path | None = None, start: Path | None = None
) -> Settings:
    """Settings from `config`, else from the nearest `tunegate.toml` upwards from `start`.

    Raises:
        SettingsError: the file named is missing, is not TOML, or has a key or value it may not have.
    """
    folder = Path(home or os.environ.get("TUNEGATE_HOME") or platformdirs.user_data_dir("tunegate"))
    folder = folder.expanduser().absolute()
    file = Path(config).absolute() if config else _nearest(start or Path.cwd())
    if file is None:
        return Settings(home=folder)
    table = _read(file)
    return Settings(
        home=folder,
        file=file,
        team=table.team,
        store=table.store,
        policy_sets=table.policy.sets,
        policy_files=_named_files(file, table.policy.files, "policy file"),
        determination_files=_named_files(file, table.policy.determinations, "signed determination"),
        budgets=Budgets(table.budgets.job_usd, table.budgets.team_month_usd),
        attestations=attestations_from(table.attestations, place=str(file), folder=file.parent),
        user=table.user,
        approvers=approvers_from(table.approvers, folder=file.parent, place=str(file)),
        pin=table.trust and pin_of(table.trust.key, table.trust.bundle, file),
        signing=Signing(table.signing.key, table.signing.passphrase_env),
        prices=_prices(file, table),
        live_prices=table.live_prices,
        project=_project(file, table),
        keep_years=table.records.keep_years,
        ner=file.parent / Path(table.scan.ner).expanduser() if table.scan.ner else None,
        keep_uploads=table.uploads.keep,
        turns=Turns(table.local.slots, table.local.per_team),
        tracking=table.metrics and Tracking(table.metrics.mlflow, table.metrics.own),
        options=table.options,
    )


def variable(name: str) -> str | None:
    """One environment variable, for what names its own; None when unset or empty. Never a credential:
    those each SDK's own chain finds, and `credential` where there is no SDK with one."""
    return os.environ.get(name) or None


def environment_with(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these variables set, for a command that is run in it."""
    return {**os.environ, **more}


def credential(name: str) -> str | None:
    """One credential from the environment: for the one backend whose service no vendor's SDK knows, and
    for signing keys and their passphrases. None when unset or empty. Read when used, and kept nowhere."""
    return os.environ.get(name) or None


def account_name() -> str:
    """The operating system's name for who runs this; no variable can say otherwise where there is one."""
    if sys.platform != "win32":
        import pwd

        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # an account without an entry, as containers have
            return str(os.getuid())
    return getpass.getuser()


def _prices(file: Path, table: _File) -> Entered:
    """What the organisation entered of prices; true as of the day the file was last changed."""
    read_on = _changed(file)
    return entered_from(table.prices, table.discounts, table.machines, place=str(file), read_on=read_on)


def _project(file: Path, table: _File) -> Project | None:
    if table.project is None:
        return None
    return project_from(table.project, place=str(file), read_on=_changed(file))


def _changed(file: Path) -> date:
    """As of when what a file says is true."""
    return datetime.fromtimestamp(file.stat().st_mtime, UTC).date()


def make_home(settings: Settings) -> None:
    """Create the home folder, readable by its owner alone.

    Raises:
        SettingsError: it cannot be created or written to.
    """
    try:
        settings.jobs_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings.home.chmod(0o700)
    except OSError as error:
        raise SettingsError(
            f"the home folder cannot be written: {error.strerror}",
            place=str(settings.home),
            fix="set TUNEGATE_HOME to a folder you may write to",
        ) from None
    if not os.access(settings.jobs_folder, os.W_OK | os.X_OK):
        raise SettingsError(
            "the home folder cannot be written",
            place=str(settings.home),
            fix="set TUNEGATE_HOME to a folder you may write to",
        )


def _nearest(start: Path) -> Path | None:
    candidates = (folder / FILE_NAME for folder in (start, *start.parents))
    return next((path for path in candidates if path.is_file()), None)


def _read(file: Path) -> _File:
    try:
        with file.open("rb") as stream:
            return _File.model_validate(tomllib.load(stream, parse_float=Decimal))
    except FileNotFoundError:
        raise SettingsError("no such file", place=str(file), fix="write one with `tunegate init`") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"this is not valid TOML: {error}", place=str(file)) from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError(
            problems, place=str(file), fix="see `tunegate init` for a settings file"
        ) from None
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", place=str(file)) from None


def _named_files(file: Path, patterns: tuple[str, ...], what: str) -> tuple[Path, ...]:
    """An organisation's own files. A pattern that matches nothing is an error: a policy that was meant
    to forbid something must not vanish in silence."""
    found: list[Path] = []
    for pattern in patterns:
        matches = sorted(file.parent.glob(pattern)) if not Path(pattern).is_absolute() else [Path(pattern)]
        if not matches or not all(match.is_file() for match in matches):
            raise SettingsError(f"no {what} matches {pattern!r}", place=str(file))
        found.extend(matches)
    return tuple(found)
