"""Processes that read a dataset's lines: batches go to them, what they saw comes back in reading order.

    useful(dataset)                    how many are worth while
    batches(dataset, on_progress)      its lines, a megabyte at a time
    Crew(maker, task, processes)       the processes; `answers(batches)` are theirs
    Hand                               what one of them does, made there by `maker`

A pass over the data (`gateway.onepass`) and a scan alone (`gateway.privacy`) are two makers.
"""

from gateway.crew.batching import Batch, batches, useful
from gateway.crew.crew import Crew, Hand, Lost

__all__ = ["Batch", "Crew", "Hand", "Lost", "batches", "useful"]
