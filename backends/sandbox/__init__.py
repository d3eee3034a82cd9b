"""Local stand-ins for the managed backends: over real HTTP on loopback, stateful, resumable.

For rehearsing the whole life of a job without an account, and for our own tests. Every room has its
part in `backends/<room>/sandbox.py`, a `Room`, which answers in the vendor's own shapes and refuses what
the vendor's machine-readable description would refuse. Here is what they share: the state and its
clock (`world`), what may be made to go wrong (`faults`), the server (`server`), and what a
"tuned" model answers (`learned`).

It is a rehearsal: nothing is trained, nothing is billed, and nothing leaves this machine. It keeps the
rows it was sent, in its own folder, as a provider would until they are deleted.
"""
