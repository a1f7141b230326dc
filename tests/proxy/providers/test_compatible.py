"""Providers by configuration: the shipped ones, the operator's, and what is refused of a file."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from multidict import CIMultiDict

from om_proxy.call.bound import ModelLimits, Unbounded, bound
from om_proxy.call.call import Call
from om_proxy.call.route import RouteTable
from om_proxy.providers import compatible_providers
from om_proxy.providers.compatible import Compatible
from om_proxy.providers.compatible.spec import ProvidersInvalid, hosts_in, load_providers, require_origin
from om_proxy.refusals.problem import missing_provider_key
from om_proxy.refusals.refusal import Problem, Shape
from om_proxy.secret import Credential, Secret
from om_proxy.settings import SettingsInvalid, load_settings
from tests.proxy.exchange import JSON, amounts, call_of, meter_in_pieces

LIMITS = ModelLimits(context_window=1_000, max_output=100)
AZURE = """
[azure]
origin = "https://acme.openai.azure.com"
models = { mine = "gpt-5" }

[local]
origin = "http://10.1.2.3:8000"
auth = "none"
operations = ["chat"]
prices = "vllm"
"""


def named(name: str, path: str = "") -> Compatible:
    return next(provider for provider in compatible_providers(path) if provider.name == name)


def written(folder: Path, text: str) -> str:
    file = folder / "providers.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def read(provider: Compatible, path: str, body: dict[str, object]) -> Call:
    target = RouteTable(provider.routes).match("POST", path)
    assert target is not None
    call = provider.read(target, orjson.dumps(body))
    assert isinstance(call, Call)
    return call


def test_these_ship_and_templates_wait_for_an_origin() -> None:
    assert {provider.name: provider.origin for provider in compatible_providers()} == {
        "groq": "https://api.groq.com",
        "mistral": "https://api.mistral.ai",
        "deepseek": "https://api.deepseek.com",
        "xai": "https://api.x.ai",
        "openrouter": "https://openrouter.ai",
        "together": "https://api.together.xyz",
    }


@pytest.mark.parametrize(
    ("name", "upstream"),
    [
        ("groq", "/openai/v1/chat/completions"),
        ("mistral", "/v1/chat/completions"),
        ("deepseek", "/chat/completions"),
        ("xai", "/v1/chat/completions"),
        ("openrouter", "/api/v1/chat/completions"),
        ("together", "/v1/chat/completions"),
    ],
)
def test_each_has_its_own_prefix(name: str, upstream: str) -> None:
    provider = named(name)
    target = RouteTable(provider.routes).match("POST", "/v1/chat/completions")

    assert target is not None
    assert target.route.provider == provider.name == name
    assert target.upstream_path == upstream
    assert (provider.shape, provider.keyless) == (Shape.OPENAI, False)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("groq", False),
        ("mistral", False),
        ("deepseek", True),
        ("xai", True),
        ("openrouter", True),
        ("together", True),
    ],
)
def test_a_stream_is_made_to_report_only_where_the_provider_takes_that(name: str, *, asked: bool) -> None:
    body = {"model": "m", "stream": True, "messages": []}

    call = call_of("/v1/chat/completions", body, provider=name)

    assert call.provider == name
    assert call.usage_added is asked
    assert (call.body == orjson.dumps(body)) is not asked


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        ("groq", {"model": "groq/compound-mini"}, "model"),
        ("groq", {"model": "m", "compound_custom": {"tools": {}}}, "compound_custom"),
        ("xai", {"model": "m", "search_parameters": {"mode": "auto"}}, "search_parameters"),
        ("openrouter", {"model": "openrouter/auto"}, "model"),
        ("openrouter", {"model": "x/y:online"}, "model"),
        ("openrouter", {"model": "m", "models": ["a", "b"]}, "models"),
        ("openrouter", {"model": "m", "plugins": [{"id": "web"}]}, "plugins"),
    ],
)
def test_a_router_or_a_search_of_theirs_has_no_bound(
    name: str, fields: dict[str, object], field: str
) -> None:
    call = call_of("/v1/chat/completions", {"messages": [], **fields}, provider=name)

    assert bound(call, LIMITS) == Unbounded(field)


def test_a_word_in_a_prompt_is_not_a_field() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": '"models"'}], "plugins": None}

    assert call_of("/v1/chat/completions", body, provider="openrouter").demand.unbounded_field is None


def test_an_escaped_name_is_found_too() -> None:
    body = b'{"model":"m","messages":[],"plu\\u0067ins":[{"id":"web"}]}'

    assert call_of("/v1/chat/completions", body, provider="openrouter").demand.unbounded_field == "plugins"


def test_the_operators_file_completes_templates_and_adds_others(tmp_path: Path) -> None:
    path = written(tmp_path, AZURE)

    found = {provider.name: provider.origin for provider in compatible_providers(path)}

    assert found["azure"] == "https://acme.openai.azure.com"
    assert found["local"] == "http://10.1.2.3:8000"
    assert len(found) == len(compatible_providers()) + 2
    assert hosts_in(path) == {"acme.openai.azure.com", "10.1.2.3"}
    assert hosts_in("") == frozenset()


def test_a_deployment_is_priced_as_the_model_behind_it(tmp_path: Path) -> None:
    azure = named("azure", written(tmp_path, AZURE))
    body: dict[str, object] = {"messages": []}

    call = read(azure, "/v1/openai/deployments/mine/chat/completions", body)
    other = read(azure, "/v1/openai/deployments/theirs/chat/completions", body)

    assert (call.provider, call.model, call.body) == ("azure", "gpt-5", orjson.dumps(body))
    assert other.model == "theirs"
    assert read(azure, "/v1/chat/completions", {"model": "mine", **body}).model == "gpt-5"


def test_what_is_consumed_is_written_under_the_price_lists_name(tmp_path: Path) -> None:
    local = named("local", written(tmp_path, AZURE))
    call = read(local, "/v1/chat/completions", {"model": "m", "messages": []})

    assert call.provider == "vllm"


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ([("api-key", "k1")], ("api-key", "k1")),
        ([("Authorization", "Bearer k1")], ("api-key", "k1")),
        ([("Authorization", "Bearer a.b.c")], ("Authorization", "Bearer a.b.c")),
    ],
)
def test_azure_takes_keys_in_a_header_of_its_own_and_tokens_as_bearer(
    tmp_path: Path, headers: list[tuple[str, str]], sent: tuple[str, str]
) -> None:
    azure = named("azure", written(tmp_path, AZURE))

    assert azure.credential(CIMultiDict(headers), "") == Credential(sent[0], Secret(sent[1]))


def test_azure_without_a_key_is_told_so(tmp_path: Path) -> None:
    azure = named("azure", written(tmp_path, AZURE))

    assert azure.credential(CIMultiDict(), "") == missing_provider_key(Shape.OPENAI)
    assert isinstance(azure.credential(CIMultiDict([("api-key", "a"), ("Api-Key", "b")]), ""), Problem)


def test_a_server_of_ones_own_needs_no_key_and_gets_the_one_that_is_sent(tmp_path: Path) -> None:
    local = named("local", written(tmp_path, AZURE))

    assert local.keyless
    assert local.credential(CIMultiDict(), "") == Credential("Authorization", Secret("Bearer none"))
    sent = local.credential(CIMultiDict([("Authorization", "Bearer k1")]), "")
    assert sent == Credential("Authorization", Secret("Bearer k1"))


def test_usage_is_read_by_the_providers_convention() -> None:
    call = call_of("/v1/chat/completions", {"model": "grok-4", "messages": []}, provider="xai")
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 4}}

    metered = meter_in_pieces(call, [orjson.dumps({"model": "grok-4", "usage": usage})], content_type=JSON)

    assert amounts(metered.lines[0]) == {"input_tokens": 1, "output_tokens": 6, "reasoning_tokens": 4}


@pytest.mark.parametrize(
    "origin",
    [
        "https://api.example.com/v1",
        "https://api.example.com?x=1",
        "https://api.example.com#x",
        "https://user:pass@api.example.com",
        "https://",
        "api.example.com",
        "ftp://api.example.com",
        "file:///etc/passwd",
        "http://api.example.com",
        "http://8.8.8.8",
        "http://169.254.169.254",
        "http://[fe80::1]",
        "https://api.example.com:port",
        "",
    ],
)
def test_whatever_is_more_or_less_than_an_origin_is_refused(origin: str) -> None:
    with pytest.raises(ProvidersInvalid, match="mine: "):
        require_origin("mine", origin)


@pytest.mark.parametrize(
    "origin",
    [
        "https://api.example.com",
        "https://api.example.com/",
        "https://api.example.com:8443",
        "http://localhost:11434",
        "http://ollama:11434",
        "http://models.internal",
        "http://192.168.1.9:8000",
        "http://[::1]:8000",
    ],
)
def test_an_origin_is_taken_and_a_private_one_without_tls_too(origin: str) -> None:
    require_origin("mine", origin)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[openai]\norigin="https://a.example.com"\noperations=["chat"]', "openai: the name is taken"),
        ('[Mine]\norigin="https://a.example.com"\noperations=["chat"]', "Mine: the name is taken"),
        ('[mine]\norigin="https://a.example.com"', "mine: operations"),
        ('[mine]\norigin="https://a.example.com"\noperations=[]', "mine: operations are some of"),
        ('[mine]\norigin="https://a.example.com"\noperations=["chats"]', "mine: operations are some of"),
        ('[mine]\norigin="https://a.example.com"\noperations=["chat"]\nprefix="/a/../b"', "mine: the prefix"),
        ('[mine]\norigin="https://a.example.com"\noperations=["chat"]\nprefix="/a?b"', "mine: the prefix"),
        ('[mine]\norigin="https://a.example.com"\noperations=["chat"]\nconvention="x"', "mine: convention"),
        ('[mine]\norigin="https://a.example.com"\noperations=["chat"]\nauth="basic"', "mine: auth"),
        ('[groq]\ninclude_usage="maybe"', "groq: include_usage"),
        ('[groq]\nbase_url="https://a.example.com"', "groq: unknown: base_url"),
        ('[groq]\norigin="http://evil.example.com"', "groq: http is for private hosts"),
        ('groq="https://a.example.com"', "groq: unknown: not a table"),
        ("[groq", "providers.toml: "),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start_with_the_reason(
    tmp_path: Path, text: str, why: str
) -> None:
    path = written(tmp_path, text)

    with pytest.raises(ProvidersInvalid, match=why):
        load_providers(path)
    with pytest.raises(SettingsInvalid, match=f"OM_PROVIDERS.*{why}"):
        load_settings(OM_SERVICE_TOKEN="t", OM_PROVIDERS=path)


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"OM_PROVIDERS.*cannot be read"):
        load_settings(OM_SERVICE_TOKEN="t", OM_PROVIDERS=str(tmp_path / "none.toml"))


def test_the_operators_hosts_may_be_private(tmp_path: Path) -> None:
    settings = load_settings(OM_SERVICE_TOKEN="t", OM_PROVIDERS=written(tmp_path, AZURE))

    assert {"10.1.2.3", "acme.openai.azure.com"} <= settings.private_hosts
    assert "api.groq.com" not in settings.private_hosts
