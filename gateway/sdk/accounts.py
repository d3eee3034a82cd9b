"""What was decided and done, as signed records: one decision a job, a dispatch and a result an attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.core.gate import Action, Decision, GateRequest
from gateway.core.job import Event, JobState
from gateway.core.plan import CandidateKey
from gateway.jobs.model import Job
from gateway.records import RecordLog, RecordRef, decision, dispatch, training_result


class Accounts:
    """Writes a job's records, each once, whatever crashed in between.

    Args:
        log: the append-only account.
        plan_of: the stored plan's JSON by job id.
    """

    def __init__(self, log: RecordLog, plan_of: Callable[[str], Mapping[str, Any]]) -> None:
        self._log = log
        self._plan_of = plan_of
        self._answers: dict[str, Decision] = {}

    def decided(self, request: GateRequest, answer: Decision) -> None:
        """Remember the gate's last answer about training at a backend, for the dispatch record."""
        if request.action is Action.TRAIN:
            self._answers[request.backend] = answer

    def decision(self, plan: Mapping[str, Any], job_id: str) -> RecordRef:
        """Record a plan's verdicts and choice, before anything is dispatched."""
        return self._log.append("decision", _subjects(plan), decision(plan, job_id=job_id))

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
        plan = self._plan_of(job.id)
        body = dispatch(
            plan,
            _key(job),
            job.remote,
            self._answers.get(job.backend),
            job.translation,
            job_id=job.id,
            attempt=job.attempt,
            decision_sha256=known["decision"],
        )
        return self._log.append("dispatch", _subjects(plan), body).sha256

    def finished(self, job: Job, *, base_revision: str | None, libraries: Mapping[str, str]) -> str:
        """Record how a job ended: `SEQ:SHA256` of the result's record."""
        dispatched = self.dispatched(job)
        for entry in self._log.of_job(job.id):
            if (entry.kind, entry.attempt) == ("training_result", job.attempt):
                return f"{entry.sequence}:{entry.sha256}"
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
            metrics=(job.result or {}).get("metrics"),
            artifacts=job.artifacts or (),
            estimate=_estimate(plan, _key(job)),
            actual={"usd": None if job.actual_usd is None else str(job.actual_usd), "hours": _hours(job)},
        )
        ref = self._log.append("training_result", _subjects(plan), body)
        return f"{ref.sequence}:{ref.sha256}"

    def envelopes(self, job: Job) -> dict[str, bytes]:
        """A job's signed records as they stand in the account, by file name."""
        return {
            f"{entry.sequence:08d}-{entry.kind}.json": entry.path.read_bytes()
            for entry in self._log.of_job(job.id)
        }

    def _of(self, job: Job) -> dict[str, str]:
        """Hash of the records of a job's present attempt, and of its decision, by kind."""
        return {
            entry.kind: entry.sha256
            for entry in self._log.of_job(job.id)
            if entry.attempt in (None, job.attempt)
        }


def _subjects(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("spec", plan["spec_hash"]), ("data", plan["data"]["hash"])]


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
