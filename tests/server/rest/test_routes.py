import re

import pytest

from om_server.rest.docs import load_document
from om_server.rest.routes import RouteTable

PATHS = {
    "/tables": {"get": {"operationId": "list"}, "post": {"operationId": "add"}, "parameters": {}},
    "/tables/active": {"get": {"operationId": "active"}},
    "/tables/{id}": {"get": {"operationId": "get"}, "delete": {"operationId": "remove"}},
    "/tables/{id}/rows/{row}": {"get": {"operationId": "row"}},
    "/tables/{id}/rows/last": {"put": {"operationId": "last"}},
}


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/tables", ("list", {})),
        ("POST", "/tables", ("add", {})),
        ("GET", "/tables/active", ("active", {})),
        ("GET", "/tables/other", ("get", {"id": "other"})),
        ("GET", "/tables/a/rows/b", ("row", {"id": "a", "row": "b"})),
        ("PUT", "/tables/a/rows/last", ("last", {"id": "a"})),
        # The name of one operation is a parameter of another one, where that has the method.
        ("DELETE", "/tables/active", ("remove", {"id": "active"})),
        ("GET", "/tables/a/rows/last", ("row", {"id": "a", "row": "last"})),
    ],
)
def test_a_path_s_own_name_comes_before_a_parameter(
    method: str, path: str, found: tuple[str, dict[str, str]]
) -> None:
    assert RouteTable(PATHS).find(method, path) == found


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/tables"),
        ("GET", "/tables/"),
        ("GET", "//tables"),
        ("GET", "/tables/a/rows"),
        ("GET", "/tables/a/rows/"),
        ("GET", "/tables/a/rows/b/c"),
        ("PARAMETERS", "/tables"),
        ("GET", ""),
    ],
)
def test_another_path_or_method_is_not_found(method: str, path: str) -> None:
    assert RouteTable(PATHS).find(method, path) is None


def test_every_operation_of_the_document_is_found() -> None:
    paths = load_document()["paths"]
    assert isinstance(paths, dict)
    table = RouteTable(paths)
    for path, item in paths.items():
        for method, operation in item.items():
            names = re.findall(r"\{(\w+)\}", path)
            sent = re.sub(r"\{(\w+)\}", r"the \1", path)
            expected = operation["operationId"], {name: f"the {name}" for name in names}
            assert table.find(method.upper(), sent) == expected
