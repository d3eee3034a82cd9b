"""Did it happen, once: the job store, budget reservations and the reconciler.

`model` has the types, `store` keeps them, `reconciler` takes a job one legal step at a time.
"""
