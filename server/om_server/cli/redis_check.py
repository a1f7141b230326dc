"""What `doctor` finds in Redis: whether it answers, what it keeps, and for how long what is in it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import redis

from om_server.cli.finding import Finding
from om_server.cli.store_check import lag_finding
from om_server.core.clock import system_clock
from om_server.storage.stream_group import STREAM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TIMEOUT_S = 2.0
_VERSION_MIN = 7
_MICROS_PER_MILLI = 1000


def redis_findings(url: str, *, production: bool) -> Iterator[Finding]:
    """Look at Redis, and at what waits in it if it answers."""
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=_TIMEOUT_S, socket_timeout=_TIMEOUT_S, decode_responses=True
        ) as client:
            yield keeping_finding(client, production=production)
            yield _lag_finding(client)
    except redis.AuthenticationError:
        yield Finding("redis", "refuses the password", remedy="correct or unset OM_REDIS_URL")
    except redis.ResponseError:
        yield Finding("redis", "does not let us look", remedy=f"allow INFO, XLEN and XRANGE of {STREAM}")
    except redis.RedisError:
        yield Finding("redis", "does not answer", remedy="start it, or correct OM_REDIS_URL")


def keeping_finding(client: redis.Redis, *, production: bool) -> Finding:
    """Whether Redis is new enough, and keeps what waits in it. In development it may forget."""
    server, memory, persistence = (client.info(section) for section in ("server", "memory", "persistence"))
    version = str(server["redis_version"])
    if int(version.partition(".")[0]) < _VERSION_MIN:
        return Finding("redis", f"is {version}", remedy=f"install {_VERSION_MIN}.0 or newer")
    policy = memory["maxmemory_policy"]
    if policy != "noeviction":
        return Finding("redis", f"may evict what waits ({policy})", remedy="set maxmemory-policy noeviction")
    if persistence["aof_enabled"]:
        return Finding("redis", "answers")
    return Finding(
        "redis",
        "answers; without appendonly, what waits there is lost when it stops",
        remedy="set appendonly yes" if production else "",
    )


def _lag_finding(client: redis.Redis) -> Finding:
    count = client.xlen(STREAM)
    first = cast("Sequence[tuple[str, object]]", client.xrange(STREAM, count=1))
    # An entry's id begins with when it was added.
    oldest = int(first[0][0].partition("-")[0]) * _MICROS_PER_MILLI if first else None
    return lag_finding("queue in Redis", count, oldest_time=oldest, now=system_clock())
