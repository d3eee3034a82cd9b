"""A stand-in for Vertex AI and Cloud Storage, as far as Tunegate uses them; see `backends.sandbox`."""

from backends.vertex.sandbox.room import VertexRoom

__all__ = ["VertexRoom"]
