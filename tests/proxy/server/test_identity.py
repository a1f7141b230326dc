from __future__ import annotations

import re

from om_proxy.server.identity import new_edge, new_event_id


def test_ids_have_the_form_that_the_contract_asks_for() -> None:
    assert re.fullmatch("evt_[0-9a-z]{26}", new_event_id())
    assert re.fullmatch("edg_[0-9a-z]{26}", new_edge().edge_id)


def test_no_two_are_the_same() -> None:
    assert len({new_event_id() for _ in range(1_000)}) == 1_000
    assert new_edge() != new_edge()


def test_an_edge_names_itself_completely() -> None:
    edge = new_edge()
    identity = edge.to_proto()

    assert (identity.edge_id, identity.edge_epoch, identity.instance) == (edge.edge_id, 1, edge.instance)
    assert 8 <= len(identity.instance) <= 64
