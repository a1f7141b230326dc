import threading

import pytest

from om_server.rpc.caller import Caller, Principal, Scope, acting_as, caller


def key(*scopes: Scope) -> Caller:
    return Caller(Principal.KEY, scopes=frozenset(scopes))


@pytest.mark.parametrize("scope", Scope)
def test_admin_includes_every_scope(scope: Scope) -> None:
    assert key(Scope.ADMIN).holds(scope)


def test_any_other_scope_includes_only_itself() -> None:
    reader = key(Scope.READ)

    assert [scope for scope in Scope if reader.holds(scope)] == [Scope.READ]


def test_outside_of_a_call_there_is_no_caller() -> None:
    with pytest.raises(LookupError):
        caller()


def test_a_caller_within_a_caller_gives_way_to_the_outer_one() -> None:
    outer, inner = key(Scope.READ), key(Scope.INGEST)

    with acting_as(outer):
        with acting_as(inner):
            assert caller() is inner
        assert caller() is outer


def test_a_caller_ends_with_its_block_even_if_that_fails() -> None:
    with pytest.raises(ZeroDivisionError), acting_as(key()):
        raise ZeroDivisionError

    with pytest.raises(LookupError):
        caller()


def test_another_thread_has_another_caller() -> None:
    """Why the wrapper sets the caller on the thread that runs the handler."""
    seen: list[str] = []

    def look() -> None:
        try:
            caller()
        except LookupError:
            seen.append("nobody")

    with acting_as(key()):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    assert seen == ["nobody"]
