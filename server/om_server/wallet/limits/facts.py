"""What the audit log shows of a limit. Its metadata is the organization's own and stays out."""

from dataclasses import asdict

from om_server.core.audit import Facts, moment
from om_server.wallet.limits.limit import Limit


def limit_facts(limit: Limit) -> Facts:
    """Show what was written last, with the amount in the unit's own steps."""
    latest, named = limit.latest, asdict(limit.selector)
    amount = latest.terms.amount
    return {
        **{name: value for name, value in named.items() if value},
        "unit": limit.unit,
        "mode": latest.terms.mode.value,
        "amount": None if amount is None else str(amount),
        "window": latest.terms.window.name,
        "effective_time": moment(latest.effective_time),
    }
