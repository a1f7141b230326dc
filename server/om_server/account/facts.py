"""What the audit log shows of accounts. Of end users only their ids: what is kept with them is content."""

from om_server.account.keys.key import Key
from om_server.account.organization import Customer, Organization, Team, User
from om_server.core.audit import Facts, moment


def organization_facts(organization: Organization) -> Facts:
    return {
        "display_name": organization.display_name,
        "user_wallet_required": organization.user_wallet_required,
        "unknown_outcome_policy": organization.unknown_outcome_policy,
    }


def team_facts(team: Team) -> Facts:
    return {"display_name": team.display_name}


def key_facts(key: Key) -> Facts:
    return {
        "team_id": key.team_id,
        "description": key.description,
        "masked_secret": key.masked_secret,
        "scopes": sorted(scope.value for scope in key.scopes),
        "test_mode": key.test_mode,
        "expire_time": moment(key.life.expire_time),
        "revoke_time": moment(key.life.revoke_time),
        "on_disconnect": key.calls.on_disconnect.value,
        "on_disconnect_by_operation": [f"{name}={policy.value}" for name, policy in key.calls.by_operation],
        "clamp_output": key.calls.clamp_output,
    }


def customer_facts(customer: Customer) -> Facts:
    return {"display_name": customer.display_name}


def user_facts(user: User) -> Facts:
    """Tell that something is kept with a user, and not what."""
    return {"has_email": bool(user.email), "has_metadata": user.metadata_json != "{}"}
