"""A world over a real database, where its events are settled."""

from tests.server.pipeline.conftest import make_rating, make_world

__all__ = ["make_rating", "make_world"]
