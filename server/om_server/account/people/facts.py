"""What the audit log shows of people: never what lets them in."""

from om_server.account.people.invite import Invite
from om_server.account.people.member import Member
from om_server.core.audit import Facts, moment


def member_facts(member: Member) -> Facts:
    return {"email": member.email, "display_name": member.display_name, "role": member.role.value}


def invite_facts(invite: Invite) -> Facts:
    return {"email": invite.email, "role": invite.role.value, "expire_time": moment(invite.expire_time)}
