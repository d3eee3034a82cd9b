"""What was decided and done, as signed records, each once, whatever crashed in between.

Who tells what:
    `scanned`, `decision`       a plan became a job
    `approved`                  somebody agreed to it: `jobs approve`
    `decided`                   every question put to the door: uploads, denials, inference and
                                deployment are recorded there, before anything is sent
    `happened`                  the reconciler's events: the dispatch
    `finished`                  the end, with evaluation and artifacts
    `undeployed`                a deployment was ended
    `deleted`                   what was uploaded is gone at the provider, or could not be deleted
    `looked`                    somebody asked for a scan by itself
    `determined`, `dismissed`   an officer signed a finding about a dataset
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from gateway.core.gate import Action, Decision, GateRequest
from gateway.core.job import Event, JobState, RemoteRef
from gateway.core.plan import CandidateKey, ProviderFile
from gateway.core.rows import ScanSummary
from gateway.core.spec import canonical_sha256
from gateway.egress import Sending
from gateway.jobs.model import Job, attempt_of
from gateway.records import (
    Entry,
    RecordLog,
    RecordRef,
    action,
    decision,
    dispatch,
    scan,
    training_result,
    upload,
)

if TYPE_CHECKING:
    from gateway.privacy.ner import Ner

Asked = tuple[GateRequest, Decision, Sending]


@dataclass(frozen=True, slots=True)
class Gone:
    """A thing that was to be deleted at a provider. `code` is the error's, where it could not be."""

    name: str
    uri: str
    sha256: str | None = None
    deleted: bool = True
    code: str = ""


class Accounts:
    """Writes the records of one gateway.

    Args:
        log: the append-only account.
        plan_of: the stored plan's JSON by job id.
        engine: says what scans, with its version.

    Raises:
        RecordError: from every method, when the record cannot be written.
    """

    def __init__(
        self,
        log: RecordLog,
        plan_of: Callable[[str], Mapping[str, Any]],
        *,
        engine: Callable[[], str] = lambda: scanner_name(None),
    ) -> None:
        self._log = log
        self._plan_of = plan_of
        self._engine = engine
        self._training: dict[str, Asked] = {}  # by the key a job is submitted under
        self._told: set[str] = set()

    # -- before anything is sent ------------------------------------------------------------------

    def scanned(self, plan: Mapping[str, Any], job_id: str) -> RecordRef:
        """Record what the scan of a plan's data found."""
        data = plan["data"]
        return self._log.append(
            "scan", [("data", data["hash"])], scan(data, engine=self._engine(), job_id=job_id)
        )

    def looked(self, files: str, found: ScanSummary, ner: Ner | None) -> RecordRef:
        """Record a scan that belongs to no job.

        Args:
            files: SHA-256 over the files as they lie, read as rows by nobody.
        """
        data = {
            "hash": files,
            "scanned": found.complete,
            "rows": found.records,
            "findings": found.findings,
            "class": {"detected": str(found.detected) if found.complete else None},
        }
        body = scan(data, engine=scanner_name(ner), flagged=found.flagged)
        return self._log.append("scan", [("files", files)], body)

    def decision(self, plan: Mapping[str, Any], job_id: str, *, requested_by: str | None = None) -> RecordRef:
        """Record a plan's verdicts and choice, before anything is dispatched."""
        body = decision(plan, job_id=job_id, requested_by=requested_by)
        return self._log.append("decision", _subjects(plan), body)

    def approved(
        self,
        job: Job,
        *,
        approver: str,
        key_id: str,
        policy_hash: str,
        requested_by: str | None,
        document: str | None = None,
    ) -> RecordRef:
        """Record that somebody agreed to a job.

        Args:
            key_id: the approver's key.
            policy_hash: of the policies that were in force when they agreed.
            document: SHA-256 of the signed approval itself.
        """
        plan = self._plan_of(job.id)
        body = {
            "job": job.id,
            "approver": approver,
            "requested_by": requested_by,
            "key_id": key_id,
            "spec_hash": plan["spec_hash"],
            "data_hash": plan["data"]["hash"],
            "policy_hash": policy_hash,
            "document": document,
        }
        return self._log.append("approval", _subjects(plan), body)

    def decided(self, request: GateRequest, answer: Decision, sending: Sending) -> None:
        """Record what the gate said at the door, before anything is sent. What stays on this machine
        is told by the dispatch alone; a model that leaves its job's folder may go anywhere from there."""
        if answer.allowed is not True:
            job_id, attempt = attempt_of(sending.key) if sending.key else (None, None)
            denied = {"job_id": job_id, "attempt": attempt, "action": str(request.action)}
            self._once("denial", request, answer, sending, **denied)
        elif request.action is Action.TRAIN and sending.key is not None:
            self._training[sending.key] = (request, answer, sending)
        elif request.action is Action.EXPORT and sending.ref is not None:
            self._once("deployment", request, answer, sending, what="export", remote=_remote(sending.ref))
        elif request.kind == "local":
            return
        elif request.action is Action.UPLOAD and sending.key and sending.file:
            self._uploading(request, answer, sending, sending.key, sending.file)
        elif request.action is Action.INFER:
            self._once("inference", request, answer, sending, model=sending.model or request.model)
        elif request.action is Action.DEPLOY and sending.ref is not None:
            self._once("deployment", request, answer, sending, what="deploy", remote=_remote(sending.ref))

    def _uploading(
        self, request: GateRequest, answer: Decision, sending: Sending, key: str, file: ProviderFile
    ) -> None:
        job_id, attempt = attempt_of(key)
        data_hash = self._plan_of(job_id)["data"]["hash"]
        body = upload(
            request,
            answer,
            file,
            job_id=job_id,
            attempt=attempt,
            data_hash=data_hash,
            hosts=sending.hosts,
        )
        self._log.append("upload", [("data", data_hash), ("file", file.sha256 or data_hash)], body)

    def _once(self, kind: str, request: GateRequest, answer: Decision, sending: Sending, **more: Any) -> None:
        """One record a day for what is asked and answered alike: an account is no log of every question."""
        body = action(request, answer, hosts=sending.hosts, **more)
        question = canonical_sha256({**body, "kind": kind, "on": request.as_of.isoformat()})
        if question not in self._told:
            self._log.append(kind, [("question", question)], body)
            self._told.add(question)  # by this process; another tells it once more

    # -- what became of it ------------------------------------------------------------------------

    def happened(self, job: Job, event: Event) -> None:
        """Record the dispatch once the backend has the job."""
        del event
        if job.state is JobState.QUEUED and job.remote is not None:
            self.dispatched(job)

    def dispatched(self, job: Job) -> str | None:
        """The dispatch record's hash; None where the job never reached a backend."""
        known = self._of(job)
        if "dispatch" in known or job.remote is None:
            return known.get("dispatch")
        plan, asked = self._plan_of(job.id), self._training.get(job.key)
        body = dispatch(
            plan,
            _key(job),
            job.remote,
            asked and asked[:2],
            job.translation,
            job_id=job.id,
            attempt=job.attempt,
            decision_sha256=known["decision"],
            hosts=asked[2].hosts if asked else (),
        )
        return self._log.append("dispatch", _subjects(plan), body).sha256

    def finished(self, job: Job, *, base_revision: str | None, libraries: Mapping[str, str]) -> str:
        """Record how a job ended, and once more where base and tuned were compared since: `SEQ:SHA256` of
        the result's record."""
        dispatched = self.dispatched(job)
        plan = self._plan_of(job.id)
        body = training_result(
            plan,
            _key(job),
            job_id=job.id,
            attempt=job.attempt,
            decision_sha256=self._of(job)["decision"],
            dispatch_sha256=dispatched,
            state=job.state,
            raw_state=job.raw_state or "",
            base_revision=base_revision,
            libraries=libraries,
            hyperparameters=dict(job.translation.requests[0].body) if job.translation.requests else {},
            evaluation=job.evaluation,
            metrics=(job.result or {}).get("metrics"),
            artifacts=job.artifacts or (),
            estimate=_estimate(plan, _key(job)),
            actual={"usd": None if job.actual_usd is None else str(job.actual_usd), "hours": _hours(job)},
        )
        for entry in self._all_of(job):
            if (entry.kind, entry.attempt) == ("training_result", job.attempt):
                told = self._log.show(entry.sequence)["statement"]["predicate"]
                if (told["evaluation"], told["metrics"]) == (body["evaluation"], body["metrics"]):
                    return f"{entry.sequence}:{entry.sha256}"
        ref = self._log.append("training_result", _subjects(plan), body)
        return f"{ref.sequence}:{ref.sha256}"

    def undeployed(self, request: GateRequest, answer: Decision, ref: RemoteRef) -> None:
        """Record that a deployment was ended. Ending one needs no yes: `answer` is what would be said."""
        self._once("deployment", request, answer, Sending(ref=ref), what="undeploy", remote=_remote(ref))

    def deleted(self, job: Job, gone: Iterable[Gone], *, why: str = "the job ended") -> RecordRef | None:
        """A receipt for what was deleted at the provider, or could not be; None where there was nothing.

        Call it after the deletion, with every file and model that was to go.
        """
        items = [
            {
                "name": each.name,
                "uri": each.uri,
                "sha256": each.sha256,
                "deleted": each.deleted,
                "code": each.code,
            }
            for each in gone
        ]
        if not items:
            return None
        plan = self._plan_of(job.id)
        body = {
            "job": job.id,
            "backend": job.backend,
            "data_hash": plan["data"]["hash"],
            "why": why,
            "items": items,
        }
        return self._log.append("deletion", _subjects(plan), body)

    # -- about datasets ---------------------------------------------------------------------------

    def determined(self, determination: Mapping[str, Any]) -> RecordRef:
        """Record an officer's determination: the fields of `gateway.records.kinds.Determination`."""
        return self._log.append("determination", [("data", determination["data_hash"])], determination)

    def dismissed(self, dismissal: Mapping[str, Any]) -> RecordRef:
        """Record an officer's dismissal: the fields of `gateway.records.kinds.Dismissal`."""
        return self._log.append("dismissal", [("data", dismissal["data_hash"])], dismissal)

    # -- reading ----------------------------------------------------------------------------------

    def envelopes(self, job: Job) -> dict[str, bytes]:
        """A job's signed records as they stand in the account, by file name."""
        return {
            f"{entry.sequence:08d}-{entry.kind}.json": entry.path.read_bytes() for entry in self._all_of(job)
        }

    def _of(self, job: Job) -> dict[str, str]:
        """Hash of the records of a job's present attempt, and of its decision, by kind."""
        return {
            entry.kind: entry.sha256 for entry in self._all_of(job) if entry.attempt in (None, job.attempt)
        }

    def _all_of(self, job: Job) -> tuple[Entry, ...]:
        """A job's records: looked for back to the day it was made; where the clock was set in between and
        its decision is not among them, to the beginning."""
        found = self._log.of_job(job.id, since=job.created_at)
        known = any(entry.kind == "decision" for entry in found)
        return found if known else self._log.of_job(job.id)


def scanner_name(ner: Ner | None) -> str:
    """Our version, and hashes over all that says what a scan finds: the rules, and the model beside them."""
    from gateway.privacy.cache import scanner_version

    model = f", model {ner.fingerprint[:16]}" if ner else ""
    return f"tunegate {metadata.version('tunegate')}, rules {scanner_version()[:16]}{model}"


def _subjects(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("spec", plan["spec_hash"]), ("data", plan["data"]["hash"])]


def _remote(ref: RemoteRef) -> dict[str, str | None]:
    return {"backend": ref.backend, "id": ref.id, "address": ref.detail.get("address")}


def _key(job: Job) -> CandidateKey:
    return CandidateKey(job.backend, job.model, job.region, job.offer)


def _estimate(plan: Mapping[str, Any], key: CandidateKey) -> dict[str, Any]:
    """What the chosen candidate was expected to cost and take."""
    wanted = (key.backend, key.model, key.region, key.offer)
    for candidate in plan["candidates"]:
        if tuple(candidate[part] for part in ("backend", "model", "region", "offer")) == wanted:
            return {"usd": candidate["estimate"]["training_usd"], "hours": candidate["duration_h"]}
    return {"usd": None, "hours": None}


def _hours(job: Job) -> str | None:
    if job.started_at is None or job.ended_at is None:
        return None
    return f"{(job.ended_at - job.started_at).total_seconds() / 3600:.4f}"
