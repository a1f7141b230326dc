import pytest

from om_server.wallet.leases.edge import EdgeEpochStale, EdgeNotResynced, require_current, require_successor
from om_server.wallet.leases.lease import EdgeIdentity

REGISTERED = EdgeIdentity("edg", 5, "one")


@pytest.mark.parametrize(("epoch", "instance"), [(5, "one"), (6, "one"), (6, "two"), (99, "two")])
def test_the_same_process_and_every_higher_epoch_may_resync(epoch: int, instance: str) -> None:
    require_successor(EdgeIdentity("edg", epoch, instance), REGISTERED)


@pytest.mark.parametrize(("epoch", "instance"), [(4, "one"), (4, "two"), (5, "two")])
def test_a_lower_epoch_and_another_process_of_this_epoch_are_stale(epoch: int, instance: str) -> None:
    edge = EdgeIdentity("edg", epoch, instance)
    with pytest.raises(EdgeEpochStale):
        require_successor(edge, REGISTERED)
    with pytest.raises(EdgeEpochStale):
        require_current(edge, REGISTERED)


@pytest.mark.parametrize("registered", [None, REGISTERED])
def test_who_has_not_resynced_in_its_epoch_may_not_lease(registered: EdgeIdentity | None) -> None:
    with pytest.raises(EdgeNotResynced) as refusal:
        require_current(EdgeIdentity("edg", 6, "one"), registered)
    assert refusal.value.metadata == {"edge_id": "edg"}


def test_who_resynced_last_may_lease() -> None:
    require_current(EdgeIdentity("edg", 5, "one"), REGISTERED)
