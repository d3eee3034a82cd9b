"""Spec × facts → candidates → verdicts → choice. Pure: no network, no SDK, no clock.

request = PlanRequest(spec=…, profile=…, backends=…, gate=…, book=…, as_of=date(2026, 11, 22))
plan(request)
"""

from __future__ import annotations

from gateway.planner.places import Place, residency_of
from gateway.planner.planning import plan
from gateway.planner.request import ChangeLike, PlanRequest, gate_request, question

__all__ = ["ChangeLike", "Place", "PlanRequest", "gate_request", "plan", "question", "residency_of"]
