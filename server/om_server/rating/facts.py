"""What the audit log shows of a tariff. A burn table and a price never change, so their ids tell the rest."""

from om_server.core.audit import Facts, moment
from om_server.rating.price import Price
from om_server.rating.stored import StoredBurnTable


def burn_table_facts(table: StoredBurnTable) -> Facts:
    return {
        "display_name": table.display_name,
        "customer_id": table.customer_id,
        "rule_count": len(table.rules),
    }


def price_facts(price: Price) -> Facts:
    return {
        "provider": price.provider,
        "model": price.model,
        "tier": price.tier,
        "units": sorted(rate.unit for rate in price.rates),
        "effective_time": moment(price.effective_from),
        "expire_time": moment(price.effective_to),
    }
