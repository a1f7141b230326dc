from collections.abc import AsyncGenerator, Iterator

import pytest

from om.edge.v1 import edge_service_pb2_grpc
from om_server.rpc.contract import SERVICES
from om_server.rpc.unimplemented import defined_rpcs, not_implemented, service_of

Base = edge_service_pb2_grpc.EdgeServiceServicer


def answer(servicer: object, request: object, context: object) -> object:
    return request


async def answer_async(servicer: object, request: object, context: object) -> object:
    return request


async def stream(servicer: object, request: object, context: object) -> AsyncGenerator[object, None]:
    yield request


def stream_blocking(servicer: object, request: object, context: object) -> Iterator[object]:
    yield request


def extending(base: type, **members: object) -> type:
    return type("Written", (base,), members)


Edge = extending(Base, Admit=answer, Watch=stream, _helper=answer)
LargerEdge = extending(Edge, Resync=answer)


def test_the_service_is_told_by_the_generated_base() -> None:
    assert service_of(LargerEdge) == "om.edge.v1.EdgeService"


def test_a_class_without_a_generated_base_is_no_servicer() -> None:
    with pytest.raises(TypeError, match="extends no generated servicer"):
        service_of(object)


def test_only_what_is_written_counts() -> None:
    assert defined_rpcs(Base) == set()
    assert defined_rpcs(Edge) == {"Admit", "Watch"}
    assert defined_rpcs(LargerEdge) == {"Admit", "Resync", "Watch"}


def test_everything_else_of_the_contract_is_missing() -> None:
    missing = not_implemented([Edge])

    assert "om.edge.v1.EdgeService/Resync" in missing
    assert "om.edge.v1.EdgeService/Admit" not in missing
    assert "om.prompt.v1.PromptService/ListPrompts" in missing
    assert len(missing) == sum(len(rpcs) for rpcs in SERVICES.values()) - 2
    assert list(missing) == sorted(missing)


def test_a_misspelled_method_stops_the_start() -> None:
    with pytest.raises(TypeError, match="Admits is no RPC"):
        defined_rpcs(extending(Base, Admits=answer))


def test_an_async_unary_method_is_refused() -> None:
    """It would run on the event loop, where blocking SQL stops everybody."""
    with pytest.raises(TypeError, match="Admit must be a sync function"):
        defined_rpcs(extending(Base, Admit=answer_async))


def test_a_blocking_stream_is_refused() -> None:
    """It would hold a thread for as long as somebody watches."""
    with pytest.raises(TypeError, match="Watch must be an async generator"):
        defined_rpcs(extending(Base, Watch=stream_blocking))
