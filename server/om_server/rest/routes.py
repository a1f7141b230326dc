"""Finds the operation of a request by the parts of its path, before connexion is asked.

connexion tries one regular expression after the other, which with as many operations as ours is half of
the time of a small read. What is not found here is its business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from connexion.middleware.abstract import ROUTING_CONTEXT
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(slots=True)
class _Node:
    """What may follow a part of a path. Its own name comes before a parameter, as OpenAPI has it."""

    named: dict[str, "_Node"] = field(default_factory=dict)
    any_name: "_Node | None" = None
    #: By method: the operation, and the names of the parameters on the way to it.
    operations: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)


class RouteTable:
    """The operations of a document by method and path."""

    def __init__(self, paths: Mapping[str, Mapping[str, Mapping[str, object]]]) -> None:
        self._root = _Node()
        for path, item in paths.items():
            for method, operation in item.items():
                if "operationId" in operation:
                    self._add(method.upper(), path, str(operation["operationId"]))

    def find(self, method: str, path: str) -> tuple[str, dict[str, str]] | None:
        """The operation and the parameters of its path; nothing for another path or method."""
        found = _search(self._root, path.split("/"), method, values=())
        if found is None:
            return None
        (operation, names), values = found
        return operation, dict(zip(names, values, strict=True))

    def _add(self, method: str, path: str, operation: str) -> None:
        node, names = self._root, []
        for part in path.split("/"):
            if part.startswith("{"):
                names.append(part.strip("{}"))
                node.any_name = node.any_name or _Node()
                node = node.any_name
            else:
                node = node.named.setdefault(part, _Node())
        node.operations[method] = operation, tuple(names)


_Found = tuple[tuple[str, tuple[str, ...]], tuple[str, ...]]


def _search(node: _Node, parts: list[str], method: str, *, values: tuple[str, ...]) -> _Found | None:
    """Go down by name where that leads to an operation, else by a parameter."""
    if not parts:
        operation = node.operations.get(method)
        return None if operation is None else (operation, values)
    first, rest = parts[0], parts[1:]
    found: _Found | None = None
    if first in node.named:
        found = _search(node.named[first], rest, method, values=values)
    if found is None and first and node.any_name is not None:
        found = _search(node.any_name, rest, method, values=(*values, first))
    return found


class QuickRoutes:
    """Calls the operation that a request is for; whatever it does not know goes to connexion."""

    def __init__(self, table: RouteTable, operations: ASGIApp, *, otherwise: ASGIApp) -> None:
        self._table = table
        self._operations = operations
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._table.find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._otherwise(scope, receive, send)
            return
        operation, parameters = found
        extensions = {**scope.get("extensions", {}), ROUTING_CONTEXT: {"operation_id": operation}}
        routed = {**scope, "path_params": parameters, "extensions": extensions}
        await self._operations(routed, receive, send)
