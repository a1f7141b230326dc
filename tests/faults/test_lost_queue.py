"""K10: Redis loses what waits in it, and edges send it again as soon as they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.patience import awaited

if TYPE_CHECKING:
    from tests.faults.scene import MakeSite, MakeTraffic
    from tests.redis_server import RedisServer


@pytest.mark.parametrize(
    "loss", ["emptied", "restarted empty", "restarted with an older state", "stream deleted"]
)
def test_edges_send_again_what_the_queue_has_lost(
    make_site: MakeSite, make_traffic: MakeTraffic, loss: str, seed: int
) -> None:
    site = make_site("redis")
    redis = site.redis
    assert redis is not None
    site.start()
    traffic = make_traffic(site, seed, lose_every=0)
    traffic.play(1)
    traffic.settle()
    awaited(lambda: all(edge.watching.life for edge in traffic.edges))
    # Nobody settles any more, so what is accepted now is in Redis alone.
    site.kill("a", "b")
    traffic.play(1, applications=False)
    if loss == "restarted with an older state":
        redis.client.save()
    traffic.play(1, applications=False)
    lives = [edge.watching.life for edge in traffic.edges]
    accepted = redis.client.xlen("om:{events}:stream")
    assert accepted

    lose(redis, loss)

    assert redis.client.xlen("om:{events}:stream") < accepted
    site.start()
    awaited(lambda: all(edge.watching.life > life for edge, life in zip(traffic.edges, lives, strict=True)))
    traffic.check()


def lose(redis: RedisServer, loss: str) -> None:
    match loss:
        case "emptied":
            redis.client.flushall()
        case "stream deleted":
            redis.client.delete("om:{events}:stream")
        case _:
            redis.kill()
            redis.start()
            # What was saved is for this start alone.
            redis.forget()
