"""Should this be fine-tuned at all? What the data and the plan can say about it, and what they cannot.

looker = Looker(); run_pass(dataset, [looker])     what the rows are like, in numbers
advise(looker.look(), spec, plan)                  findings, each with its number and its source
"""

from __future__ import annotations

from gateway.advice.advise import Advice, Finding, advise
from gateway.advice.looking import Look, Looker

__all__ = ["Advice", "Finding", "Look", "Looker", "advise"]
