"""The OpenAPI plugin on small contracts: what a proto says, and what the document makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import grpc_tools
import pytest
from grpc_tools import protoc

from tools import generate
from tools.openapi import document
from tools.openapi.contract import Contract, ContractError, summary

Transcode: TypeAlias = Callable[[str], dict[str, Any]]

HEADER = """
syntax = "proto3";
package toy.v1;
import "buf/validate/validate.proto";
import "google/api/annotations.proto";
import "google/protobuf/timestamp.proto";
import "om/type/v1/access.proto";
"""
ANSWER = "message AddResponse { string toy_id = 1; }"


@pytest.fixture
def transcode(tmp_path: Path) -> Transcode:
    """Compile a proto's text and return its OpenAPI document."""

    def compiled(text: str) -> dict[str, Any]:
        (tmp_path / "toy.proto").write_text(HEADER + text, encoding="utf-8")
        well_known = Path(grpc_tools.__file__).parent / "_proto"
        imports = [f"-I{path}" for path in (tmp_path, generate.PROTO, generate.THIRD_PARTY, well_known)]
        outputs = [
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={tmp_path / 'toy.binpb'}",
        ]
        assert protoc.main(["protoc", *imports, *outputs, "toy.proto"]) == 0
        return document.transcoded(Contract.read(tmp_path / "toy.binpb"))

    return compiled


def service(rule: str, *, answer: str = "AddResponse", options: str = "") -> str:
    return f"""
    // Keeps toys.
    service ToyService {{
      // Adds a toy. Safe to repeat.
      rpc Add(AddRequest) returns ({answer}) {{
        option (google.api.http) = {{{rule}}};
        {options}
      }}
    }}
    """


def adding(fields: str) -> str:
    """A contract whose POST body has these fields."""
    return service('post: "/toys" body: "*"') + f"message AddRequest {{ {fields} }}" + ANSWER


def request_schema(found: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = found["components"]["schemas"]["toy.v1.AddRequest"]
    return schema


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("string x = 1;", {"type": "string"}),
        ("string x = 1 [(buf.validate.field).string.max_bytes = 9];", {"type": "string", "maxLength": 9}),
        (
            "string x = 1 [(buf.validate.field).string = {min_len: 1, max_len: 5}];",
            {"type": "string", "minLength": 1, "maxLength": 5},
        ),
        (
            'string x = 1 [(buf.validate.field).string.pattern = "^a+$"];',
            {"type": "string", "pattern": "^a+$"},
        ),
        ('string x = 1 [(buf.validate.field).string.prefix = "a."];', {"type": "string", "pattern": r"^a\."}),
        (
            'string x = 1 [(buf.validate.field).string = {in: ["a", "b"]}];',
            {"type": "string", "enum": ["a", "b"]},
        ),
        ("string x = 1 [(buf.validate.field).string.email = true];", {"type": "string", "format": "email"}),
        (
            "int32 x = 1 [(buf.validate.field).int32 = {gte: 1, lt: 9}];",
            {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9, "exclusiveMaximum": True},
        ),
        (
            "double x = 1 [(buf.validate.field).double.gt = 0];",
            {"type": "number", "format": "double", "minimum": 0, "exclusiveMinimum": True},
        ),
        (
            "int64 x = 1 [(buf.validate.field).int64 = {gt: 0, lte: 7}];",
            {
                "type": "string",
                "format": "int64",
                "pattern": "^[1-9][0-9]{0,19}$",
                "x-minimum": "1",
                "x-maximum": "7",
            },
        ),
        ("int64 x = 1;", {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"}),
        (
            "bytes x = 1 [(buf.validate.field).bytes.max_len = 4];",
            {"type": "string", "format": "byte", "maxLength": 8},
        ),
        (
            "repeated string x = 1 [(buf.validate.field).repeated = {max_items: 3, unique: true}];",
            {"type": "array", "items": {"type": "string"}, "maxItems": 3, "uniqueItems": True},
        ),
        (
            "repeated string x = 1 [(buf.validate.field).repeated.items.string.min_len = 1];",
            {"type": "array", "items": {"type": "string", "minLength": 1}},
        ),
        (
            "map<string, bool> x = 1 [(buf.validate.field).map.max_pairs = 2];",
            {"type": "object", "additionalProperties": {"type": "boolean"}, "maxProperties": 2},
        ),
        (
            "map<string, string> x = 1 [(buf.validate.field).map.values.string.max_len = 4];",
            {"type": "object", "additionalProperties": {"type": "string", "maxLength": 4}},
        ),
        ("google.protobuf.Timestamp x = 1;", {"type": "string", "format": "date-time"}),
        (
            "string x = 1 [(buf.validate.field) = {ignore: IGNORE_ALWAYS, string: {min_len: 2}}];",
            {"type": "string"},
        ),
        (
            "string x = 1 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE, string: {min_len: 2}}];",
            {"type": "string"},
        ),
    ],
)
def test_a_rule_becomes_keywords(transcode: Transcode, declared: str, expected: dict[str, Any]) -> None:
    assert request_schema(transcode(adding(declared)))["properties"]["x"] == expected


@pytest.mark.parametrize(
    ("declared", "required"),
    [
        ("string x = 1;", False),
        ("string x = 1 [(buf.validate.field).required = true];", True),
        ("string x = 1 [(buf.validate.field).string.min_len = 1];", True),
        ('string x = 1 [(buf.validate.field).string.pattern = "^a+$"];', True),
        ('string x = 1 [(buf.validate.field).string.pattern = "^(a+)?$"];', False),
        ("optional string x = 1 [(buf.validate.field).string.min_len = 1];", False),
        ("int64 x = 1 [(buf.validate.field).int64.gt = 0];", True),
        ("int32 x = 1 [(buf.validate.field).int32.gte = 0];", False),
        ("int32 x = 1 [(buf.validate.field).int32.lt = 0];", True),
        ("repeated string x = 1 [(buf.validate.field).repeated.min_items = 1];", True),
        ("bool x = 1 [(buf.validate.field).bool.const = true];", True),
        (
            "string x = 1 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE, string: {min_len: 2}}];",
            False,
        ),
    ],
)
def test_what_may_not_be_left_out_is_required(transcode: Transcode, declared: str, required: bool) -> None:  # noqa: FBT001 - A column of the table.
    """Without presence, a field that is left out has its zero value, and the rules judge that."""
    assert ("x" in request_schema(transcode(adding(declared))).get("required", [])) is required


def test_an_enum_loses_the_values_that_a_rule_refuses(transcode: Transcode) -> None:
    enum = "enum Size { SIZE_UNSPECIFIED = 0; SIZE_SMALL = 1; SIZE_LARGE = 2; }"
    fields = "Size x = 1 [(buf.validate.field).enum = {not_in: [0]}]; Size y = 2;"

    found = transcode(adding(fields) + enum)

    assert request_schema(found)["properties"] == {
        "x": {"type": "string", "enum": ["SIZE_SMALL", "SIZE_LARGE"]},
        "y": {"$ref": "#/components/schemas/toy.v1.Size"},
    }
    assert found["components"]["schemas"]["toy.v1.Size"]["enum"][0] == "SIZE_UNSPECIFIED"


def test_a_commented_reference_keeps_its_comment(transcode: Transcode) -> None:
    """OpenAPI 3.0 ignores a description that stands beside a reference."""
    found = transcode(adding("\n// The box.\nBox box = 1;") + "message Box { string label = 1; }")

    assert request_schema(found)["properties"]["box"] == {
        "allOf": [{"$ref": "#/components/schemas/toy.v1.Box"}],
        "description": "The box.",
    }


def test_a_message_may_contain_itself(transcode: Transcode) -> None:
    found = transcode(adding("Box box = 1;") + "message Box { repeated Box inner = 1; }")

    inner = found["components"]["schemas"]["toy.v1.Box"]["properties"]["inner"]
    assert inner == {"type": "array", "items": {"$ref": "#/components/schemas/toy.v1.Box"}}


def test_items_that_the_server_judges_one_by_one_are_not_judged_here(transcode: Transcode) -> None:
    """One bad event must not cost its neighbours, so the document may not refuse the batch."""
    fields = "repeated Box boxes = 1 [(buf.validate.field).repeated.items.ignore = IGNORE_ALWAYS];"
    box = "message Box { string label = 1 [(buf.validate.field).string.min_len = 1]; }"

    found = transcode(adding(fields) + box)

    items = request_schema(found)["properties"]["boxes"]["items"]
    assert items == {"$ref": "#/components/schemas/toy.v1.Box.Unchecked"}
    unchecked = found["components"]["schemas"]["toy.v1.Box.Unchecked"]
    assert unchecked["properties"]["label"] == {"type": "string"}
    assert "required" not in unchecked


def test_unknown_fields_are_refused_in_requests_only(transcode: Transcode) -> None:
    found = transcode(adding("string x = 1;"))

    schemas = found["components"]["schemas"]
    assert schemas["toy.v1.AddRequest"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["toy.v1.AddResponse"]
    assert schemas["toy.v1.AddResponse"]["required"] == ["toyId"]


def test_members_of_a_oneof_are_named_in_the_description(transcode: Transcode) -> None:
    fields = "oneof kind { option (buf.validate.oneof).required = true; string a = 1; string b_c = 2; }"

    assert request_schema(transcode(adding(fields)))["description"] == "Exactly one of `a`, `bC` may be set."


def test_a_field_of_the_path_is_not_in_the_body(transcode: Transcode) -> None:
    fields = (
        "message AddRequest { string box_id = 1 [(buf.validate.field).string.min_len = 1]; string name = 2; }"
    )
    found = transcode(service('post: "/boxes/{box_id}/toys" body: "*"') + fields + ANSWER)

    operation = found["paths"]["/boxes/{box_id}/toys"]["post"]
    assert list(request_schema(found)["properties"]) == ["name"]
    assert "required" not in request_schema(found)
    assert operation["x-grpc-path-fields"] == {"box_id": "box_id"}
    assert [(p["name"], p["in"], p["required"]) for p in operation["parameters"]] == [
        ("box_id", "path", True)
    ]


def test_a_field_inside_of_the_body_may_be_in_the_path(transcode: Transcode) -> None:
    """The parameter's name has no dot, because connexion strips dots."""
    messages = """
    message AddRequest { Box box = 1; bool loud = 2; }
    message Box { string box_id = 1; string label = 2; }
    """
    found = transcode(service('patch: "/boxes/{box.box_id}" body: "box"') + messages + ANSWER)

    operation = found["paths"]["/boxes/{box_box_id}"]["patch"]
    assert operation["x-grpc-body"] == "box"
    assert operation["x-grpc-path-fields"] == {"box_box_id": "box.box_id"}
    assert list(found["components"]["schemas"]["toy.v1.AddRequest.box"]["properties"]) == ["label"]
    assert [p["name"] for p in operation["parameters"]] == ["box_box_id", "loud"]


def test_what_is_not_in_path_or_body_is_in_the_query(transcode: Transcode) -> None:
    messages = """
    message AddRequest { Filter filter = 1 [(buf.validate.field).required = true]; int32 page_size = 2; }
    message Filter {
      // From when.
      google.protobuf.Timestamp start_time = 1;
      repeated string toy_ids = 2 [(buf.validate.field).repeated.min_items = 1];
    }
    """
    found = transcode(service('get: "/toys"') + messages + ANSWER)

    parameters = found["paths"]["/toys"]["get"]["parameters"]
    assert [(p["name"], p["required"]) for p in parameters] == [
        ("filter.startTime", False),
        ("filter.toyIds", True),
        ("pageSize", False),
    ]
    assert parameters[0]["description"] == "From when."
    assert "requestBody" not in found["paths"]["/toys"]["get"]


def test_an_operation_says_how_to_call_it(transcode: Transcode) -> None:
    options = """
    option idempotency_level = IDEMPOTENT;
    option deprecated = true;
    option (om.type.v1.access) = { allow: [PRINCIPAL_KEY, PRINCIPAL_OWNER] scope: SCOPE_ADMIN };
    """
    text = service('post: "/toys" body: "*"', options=options) + "message AddRequest {}" + ANSWER

    operation = transcode(text)["paths"]["/toys"]["post"]

    assert operation["operationId"] == "ToyService_Add"
    assert operation["summary"] == "Adds a toy"
    assert operation["description"] == "Adds a toy. Safe to repeat."
    assert operation["deprecated"] is True
    assert operation["x-grpc-method"] == "/toy.v1.ToyService/Add"
    assert operation["x-grpc-body"] == "*"
    assert operation["x-grpc-streaming"] is False
    assert operation["x-grpc-idempotency-level"] == "IDEMPOTENT"
    assert operation["x-access"] == {"allow": ["key", "owner"], "scope": "admin"}
    assert "security" not in operation
    assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}


def test_an_rpc_for_anybody_asks_for_no_credential(transcode: Transcode) -> None:
    options = "option (om.type.v1.access) = { allow: [PRINCIPAL_ANONYMOUS] };"
    text = service('post: "/toys" body: "*"', options=options) + "message AddRequest {}" + ANSWER

    assert transcode(text)["paths"]["/toys"]["post"]["security"] == []


@pytest.mark.parametrize(
    ("request_fields", "answer", "media_type", "schema", "headers"),
    [
        (
            "string cursor = 1;",
            "message AddResponse { string toy_id = 1; string cursor = 2; }",
            "text/event-stream",
            "AddResponse",
            ["Last-Event-ID"],
        ),
        # Nobody could go on from it.
        ("", "message AddResponse { string cursor = 2; }", "application/x-ndjson", "AddResponse", []),
        ("", "message AddResponse { repeated string toys = 1; }", "application/x-ndjson", "AddResponse", []),
        (
            "",
            "message AddResponse { repeated Toy toys = 1; } message Toy { string toy_id = 1; }",
            "application/x-ndjson",
            "Toy",
            [],
        ),
    ],
)
def test_a_stream_is_sent_as_events_if_it_can_be_resumed_and_as_lines_if_not(
    transcode: Transcode,
    request_fields: str,
    answer: str,
    media_type: str,
    schema: str,
    headers: list[str],
) -> None:
    request = f"message AddRequest {{ {request_fields} }}"
    text = service('get: "/toys"', answer="stream AddResponse") + request + answer

    operation = transcode(text)["paths"]["/toys"]["get"]

    assert operation["x-grpc-streaming"] is True
    assert operation["responses"]["200"]["content"] == {
        media_type: {"schema": {"$ref": f"#/components/schemas/toy.v1.{schema}"}}
    }
    found = operation.get("parameters", [])
    assert [parameter["name"] for parameter in found if parameter["in"] == "header"] == headers


@pytest.mark.parametrize(
    ("rule", "fields", "problem"),
    [
        ('post: "/toys/{x}:paint"', "string x = 1;", "colon verbs"),
        ('get: "/toys/{x=boxes/*}"', "string x = 1;", "plain field path"),
        ('get: "/toys/{y}"', "string x = 1;", "no field `y`"),
        ('get: "/toys"', "repeated Box x = 1;", "cannot be in a query"),
        ('get: "/toys"', "Box x = 1;", "cannot be in a query"),
        ('post: "/toys" body: "x"', "string x = 1;", "not a message"),
        ('get: "/toys" response_body: "toy_id"', "string x = 1;", "response_body"),
        (
            'get: "/toys/{x}" additional_bindings: {get: "/toys/{y}"}',
            "string x = 1; string y = 2;",
            "bound twice",
        ),
        (
            'get: "/toys/{x}" additional_bindings: {delete: "/toys/{y}"}',
            "string x = 1; string y = 2;",
            "bound twice",
        ),
    ],
)
def test_what_http_cannot_say_is_refused(transcode: Transcode, rule: str, fields: str, problem: str) -> None:
    text = service(rule) + f"message AddRequest {{ {fields} }} message Box {{ Box inner = 1; }}" + ANSWER

    with pytest.raises(ContractError, match=problem):
        transcode(text)


def test_documented_routes_are_merged(transcode: Transcode) -> None:
    by_hand = {
        "paths": {"/v1/health": {"get": {"responses": {}}}},
        "components": {"schemas": {"Health": {"type": "object"}}},
        "tags": [{"name": "documented"}],
    }

    merged = document.merge(transcode(adding("string x = 1;")), by_hand)

    assert set(merged["paths"]) == {"/toys", "/v1/health"}
    assert {"Health", "Problem", "toy.v1.AddRequest"} <= merged["components"]["schemas"].keys()
    assert [tag["name"] for tag in merged["tags"]] == ["ToyService", "documented"]


@pytest.mark.parametrize(
    ("by_hand", "problem"),
    [
        ({"paths": {"/toys": {}}}, "documented by hand"),
        ({"components": {"schemas": {"Problem": {}}}}, "two of"),
        ({"servers": []}, "would be lost"),
    ],
)
def test_a_documented_clash_is_an_error(transcode: Transcode, by_hand: dict[str, Any], problem: str) -> None:
    with pytest.raises(ContractError, match=problem):
        document.merge(transcode(adding("string x = 1;")), by_hand)


def test_equal_contracts_give_equal_bytes(transcode: Transcode, tmp_path: Path) -> None:
    for name in ("first.yaml", "second.yaml"):
        document.write(transcode(adding("Box b = 2; Box a = 1;") + "message Box {}"), tmp_path / name)

    assert (tmp_path / "first.yaml").read_bytes() == (tmp_path / "second.yaml").read_bytes()


@pytest.mark.parametrize(
    ("comment", "sentence"),
    [
        ("Adds a toy. Safe to repeat.", "Adds a toy"),
        ("Adds a toy.", "Adds a toy"),
        ("Rounds to 10^-9. Exact.", "Rounds to 10^-9"),
        ("Is it there? Yes.", "Is it there?"),
        ("", ""),
    ],
)
def test_a_summary_is_the_first_sentence(comment: str, sentence: str) -> None:
    assert summary(comment) == sentence
