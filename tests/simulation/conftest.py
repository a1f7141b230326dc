"""The server's databases, for seeds that are played on PostgreSQL."""

from tests.server.conftest import postgres_template

__all__ = ["postgres_template"]
