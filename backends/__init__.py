"""Places that can fine-tune a model, each behind the same interface.

`backends.registry` names them, `backends.base` says what they do. Nothing here imports a vendor's
SDK until a lifecycle call needs it.
"""
