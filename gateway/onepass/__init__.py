"""One pass over the data, shared by several processes: read, checked, counted, split and scanned at once.

    Helpers(counters, home, scans)     what the processes are to do
    reader(helpers)                    for `gateway.data.profile(reader=…)`; does the same as `run_pass`

What comes out is the same whatever the number of processes, and memory is flat in the size of the file
but for some bytes a row. A dataset that is small, or no JSON Lines, is read in this process alone.
"""

from gateway.onepass.reading import Helpers, reader
from gateway.onepass.work import CounterName

__all__ = ["CounterName", "Helpers", "reader"]
