"""The local runner: training on this machine, in a process of its own that outlives its caller."""
