import uuid

import pytest

from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.core.ids import new_id
from om_server.rest.documented.tenant import names_organization, published_id, wallet_owner

RANDOM = bytes(range(10))
ORGANIZATION = new_id("org", 1_763_700_000_000, random_bytes=RANDOM)


def test_the_published_id_is_the_same_128_bits() -> None:
    expected = uuid.UUID(bytes=(1_763_700_000_000).to_bytes(6) + RANDOM)

    assert published_id(ORGANIZATION) == str(expected)


def test_an_id_of_another_form_stays() -> None:
    assert published_id("org_acme") == "org_acme"


@pytest.mark.parametrize(
    "customer_id", ["", ORGANIZATION, published_id(ORGANIZATION), published_id(ORGANIZATION).upper()]
)
def test_the_organization_is_named_by_nothing_and_by_both_ids(customer_id: str) -> None:
    assert names_organization(customer_id, ORGANIZATION)
    assert wallet_owner(ORGANIZATION, customer_id=customer_id).kind == wallet_pb.OWNER_KIND_ORGANIZATION


def test_a_customer_of_the_organization_is_not_the_organization() -> None:
    other = new_id("org", 1_763_700_000_001, random_bytes=RANDOM)

    for customer_id in ("acme", other, published_id(other)):
        owner = wallet_owner(ORGANIZATION, customer_id=customer_id)
        assert (owner.kind, owner.id) == (wallet_pb.OWNER_KIND_CUSTOMER, customer_id)
