"""What `doctor` says of a real Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from om_server.cli.redis_check import redis_findings
from om_server.storage.stream_group import STREAM

if TYPE_CHECKING:
    from om_server.cli.finding import Finding
    from tests.redis_server import RedisServer


def found(server: RedisServer, *, production: bool = True) -> dict[str, Finding]:
    return {each.check: each for each in redis_findings(server.url, production=production)}


def test_a_redis_that_forgets_is_a_problem_in_production_alone(redis_server: RedisServer) -> None:
    assert found(redis_server)["redis"].remedy == "set appendonly yes"
    assert not found(redis_server, production=False)["redis"].problem
    redis_server.client.config_set("appendonly", "yes")
    try:
        assert str(found(redis_server)["redis"]) == "ok       redis: answers"
    finally:
        redis_server.client.config_set("appendonly", "no")


def test_a_redis_that_may_evict_is_a_problem(redis_server: RedisServer) -> None:
    redis_server.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert found(redis_server)["redis"].remedy == "set maxmemory-policy noeviction"
    finally:
        redis_server.client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_that_is_away_or_refuses_is_a_problem(redis_server: RedisServer) -> None:
    redis_server.client.config_set("requirepass", "s3cret")
    refused = found(redis_server)["redis"]
    redis_server.kill()

    assert refused.problem
    assert "s3cret" not in str(refused)
    assert found(redis_server)["redis"].text == "does not answer"


def test_what_has_waited_for_long_is_a_problem(redis_server: RedisServer) -> None:
    assert found(redis_server)["queue in Redis"].text == "nothing waits"
    now = int(time.time() * 1000)
    redis_server.client.xadd(STREAM, {"a": "b"}, id=f"{now}-0")
    assert found(redis_server)["queue in Redis"].text == "1 batch waits for settlement"
    redis_server.client.delete(STREAM)
    for number in range(2):
        redis_server.client.xadd(STREAM, {"a": "b"}, id=f"{now - 300_000}-{number + 1}")

    late = found(redis_server)["queue in Redis"]
    assert late.text.startswith("2 batches wait, since 30")
    assert late.remedy == "start a worker, or see its log"
