"""What is in the data: formats, one streaming reader, checks, counting, splits, files to send.

One pass reads the files; observers (checks, scanner, token counters, the splitter) each see every
record once. Nothing here is sent anywhere, and no error, report or profile holds a row's text.

    open_dataset(spec.data, folder, task=spec.task)   → Dataset, streams `Record`s
    check(dataset), refusals(dataset)                  what is wrong, and where
    assign_splits(dataset, spec.data)                  → SplitAssignment
    profile(spec, folder, counters=…, conversions=…)   → core's DataProfile
    write_split(dataset, assignment, "train", …)       a provider's file, whole or not at all
    fetch(url, folder)                                 bring a file here first
"""

from gateway.data.checking import CheckReport, Checks, Problem, check, refusals
from gateway.data.dataset import Dataset, Observer, OnProgress, Record, RunPass, Source, run_pass
from gateway.data.fetching import fetch
from gateway.data.opening import open_any, open_dataset
from gateway.data.profiling import Scanner, Tokens, profile
from gateway.data.reasons import REASONS
from gateway.data.splits import SplitAssignment, SplitCollector, assign_splits, row_digest, rows_of
from gateway.data.writing import SplitFile, write_atomically, write_split, write_splits

__all__ = [
    "REASONS",
    "CheckReport",
    "Checks",
    "Dataset",
    "Observer",
    "OnProgress",
    "Problem",
    "Record",
    "RunPass",
    "Scanner",
    "Source",
    "SplitAssignment",
    "SplitCollector",
    "SplitFile",
    "Tokens",
    "assign_splits",
    "check",
    "fetch",
    "open_any",
    "open_dataset",
    "profile",
    "refusals",
    "row_digest",
    "rows_of",
    "run_pass",
    "write_atomically",
    "write_split",
    "write_splits",
]
