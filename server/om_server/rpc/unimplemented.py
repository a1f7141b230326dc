"""Which RPCs a servicer class has, structurally: what it does not define is answered with NOT_IMPLEMENTED.

The generated base classes have every method, and theirs raise without a reason that a program could read.
"""

import inspect
from collections.abc import Iterable

from om_server.rpc.contract import SERVICES, Rpc

_GENERATED = "_pb2_grpc"


def service_of(servicer_class: type) -> str:
    """Return the full name of the service whose generated base the class extends."""
    for ancestor in servicer_class.__mro__:
        if _is_generated(ancestor):
            package = ancestor.__module__.rpartition(".")[0]
            return f"{package}.{ancestor.__name__.removesuffix('Servicer')}"
    raise TypeError(f"{servicer_class.__name__} extends no generated servicer")


def defined_rpcs(servicer_class: type) -> frozenset[str]:
    """Return the names of the RPCs that the class itself defines. A misfit stops the start with a TypeError.

    Unary methods are sync, because they block on SQL; streams are async generators, because one that
    waits must not cost a thread. Anything else would run in the wrong place.
    """
    rpcs = {rpc.name: rpc for rpc in SERVICES[service_of(servicer_class)]}
    own: dict[str, object] = {}
    for ancestor in reversed(servicer_class.__mro__):
        if not _is_generated(ancestor):
            own.update({name: value for name, value in vars(ancestor).items() if name[0].isupper()})
    for name, method in own.items():
        if name not in rpcs:
            raise TypeError(f"{servicer_class.__name__}.{name} is no RPC of its service")
        if misfit := _misfit(rpcs[name], method):
            raise TypeError(f"{servicer_class.__name__}.{name} must be {misfit}")
    return frozenset(own)


def not_implemented(servicer_classes: Iterable[type]) -> tuple[str, ...]:
    """Return the paths of every RPC of the contract that none of these classes defines, sorted."""
    defined = {service_of(one): defined_rpcs(one) for one in servicer_classes}
    every = (rpc for rpcs in SERVICES.values() for rpc in rpcs)
    return tuple(sorted(rpc.path for rpc in every if rpc.name not in defined.get(rpc.service, ())))


def _misfit(rpc: Rpc, method: object) -> str:
    if rpc.streaming:
        return "" if inspect.isasyncgenfunction(method) else "an async generator"
    sync = inspect.isfunction(method) and not inspect.iscoroutinefunction(method)
    return "" if sync else "a sync function"


def _is_generated(ancestor: type) -> bool:
    return ancestor.__module__.endswith(_GENERATED)
