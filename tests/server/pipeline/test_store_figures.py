"""What lies in the stores, of all organizations together."""

from om_server.ingestion.store import DeadLetter
from om_server.pipeline.store_figures import StoreFigures, StoreReader
from tests.server.pipeline.harness import CREDIT, START, World


def _reader(world: World) -> StoreReader:
    return StoreReader(
        world.database, world.inbox, ingestion=world.ingestion_store, wallet=world.wallet, clock=world.clock
    )


def test_empty_stores_have_nothing(world: World) -> None:
    assert _reader(world).read() == StoreFigures(0, 0, 0, 0, 0)


def test_what_waits_and_what_is_set_aside_is_counted_for_all(world: World) -> None:
    first, second = world.tenant(granted=10 * CREDIT), world.tenant("Ironmonger")
    world.queue([world.event(first)], [world.event(second)])
    letter = DeadLetter(
        organization_id=second.organization_id,
        dead_letter_id="dlt_1",
        source="api",
        event_id="e9",
        reason="INTERNAL",
        message="",
        attempt_count=1,
        envelope="{}",
        receive_time=START,
        create_time=START,
    )
    world.database.write(lambda: world.ingestion_store.add_dead_letter(letter))
    world.resync()
    world.admit(first)
    world.clock.advance(4)

    assert _reader(world).read() == StoreFigures(2, 4, 1, 1, CREDIT)
