"""How the published API names an organization: as a customer whose id is a UUID.

Our ids carry 128 bits, which are that UUID, so that both name the same organization.
"""

from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.core.ids import id_as_uuid, id_pattern

_PREFIX = "org"


def published_id(organization_id: str) -> str:
    """The UUID of an organization's id; an id of another form stays as it is."""
    if not id_pattern(_PREFIX).fullmatch(organization_id):
        return organization_id
    return id_as_uuid(organization_id)


def names_organization(customer_id: str, organization_id: str) -> bool:
    """Whether a customer's id is none, or that of the organization itself in one of its two forms."""
    return customer_id in {"", organization_id} or customer_id.lower() == published_id(organization_id)


def wallet_owner(
    organization_id: str, *, user_id: str = "", team_id: str = "", customer_id: str = ""
) -> wallet_pb.WalletOwner:
    """Whose wallet a request means: the first of user, team and customer, else the organization."""
    if user_id:
        return wallet_pb.WalletOwner(kind=wallet_pb.OWNER_KIND_USER, id=user_id)
    if team_id:
        return wallet_pb.WalletOwner(kind=wallet_pb.OWNER_KIND_TEAM, id=team_id)
    if not names_organization(customer_id, organization_id):
        return wallet_pb.WalletOwner(kind=wallet_pb.OWNER_KIND_CUSTOMER, id=customer_id)
    return wallet_pb.WalletOwner(kind=wallet_pb.OWNER_KIND_ORGANIZATION)
