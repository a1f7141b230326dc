"""Whatever the order, the batches and the number of deliveries: the money is the same."""

import random
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from om_server.analytics.query import EventFilter, UsageQuery, UsageReport
from om_server.core.event import Attribution, Event
from om_server.core.page import PageRequest
from om_server.wallet.wallet import OwnerKind
from tests.server.analytics.rolled_back import rolled_back
from tests.server.pipeline.harness import INPUT_CHARGE, Tenant, World, tokens

_MODELS = ("gpt-4o", "a-model-nobody-knows")

#: Tokens, model, user, twin of an earlier event, sandbox.
_REPORTS = st.lists(
    st.tuples(
        st.integers(0, 3_000),
        st.sampled_from(_MODELS),
        st.sampled_from(["", "ada", "bob"]),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


def events_of(
    world: World, tenant: Tenant, reports: Sequence[tuple[int, str, str, bool, bool]]
) -> list[Event]:
    events: list[Event] = []
    for number, (count, model, user, twin, sandbox) in enumerate(reports):
        if twin and events:
            events.append(events[-1])
            continue
        who = Attribution(user_id=user, team_id=tenant.team_id)
        line = tokens(count, model=model)
        events.append(world.event(tenant, f"e{number}", attribution=who, lines=(line,), sandbox=sandbox))
    return events


def outcome(
    world: World, tenant: Tenant, batches: Sequence[Sequence[Event]]
) -> tuple[list[object], UsageReport, list[object]]:
    """Settle the batches and return wallets, sums and events; afterwards it never happened."""

    def settle() -> tuple[list[object], UsageReport, list[object]]:
        for batch in batches:
            world.settler.settle(batch)
        wallets = world.wallet.list_wallets(tenant.organization_id, page=PageRequest.of()).wallets
        query = UsageQuery(filter=EventFilter(start_time=0, end_time=world.clock.now + 1))
        report = world.analytics.query_usage(tenant.organization_id, query)
        events = world.analytics.list_events(
            tenant.organization_id, EventFilter(), page=PageRequest.of()
        ).events
        money: list[object] = [(one.owner, one.available, one.held, one.receivable) for one in wallets]
        return money, report, [(one.event.event_id, one.state, one.cost, one.charge) for one in events]

    return rolled_back(world.database, settle)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(reports=_REPORTS, seed=st.integers(0, 2**32), granted=st.integers(1, 6_000 * INPUT_CHARGE))
def test_order_batches_and_repeats_change_no_amount(
    world: World, reports: list[tuple[int, str, str, bool, bool]], seed: int, granted: int
) -> None:
    """Ada has a wallet that may be short; whoever is not Ada is paid for by the organization's."""
    tenant = world.tenant(granted=granted)
    world.grant(tenant.organization_id, granted, kind=OwnerKind.USER, owner_id="ada")
    events = events_of(world, tenant, reports)
    dice = random.Random(seed)
    shuffled = dice.sample(events, len(events))
    cut = dice.randint(0, len(events))

    expected = outcome(world, tenant, [events])

    assert outcome(world, tenant, [shuffled[:cut], shuffled[cut:], events]) == expected
    assert outcome(world, tenant, [[event] for event in reversed(events)]) == expected
