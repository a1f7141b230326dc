from __future__ import annotations

import dataclasses

import pytest

from om_proxy.providers.sandbox.switch import InvalidSwitch, Switches, parse_switches, write_directives


def test_no_header_means_the_defaults() -> None:
    assert parse_switches("") == Switches()


def test_directives_are_read_whatever_the_spaces_around_them() -> None:
    switches = parse_switches(" usage=missing;chunk = 1 ; gzip=1;served_model=vendor/model-2 ;")

    assert switches == Switches(usage="missing", chunk=1, gzip=True, served_model="vendor/model-2")


def test_a_flag_can_be_put_down_again() -> None:
    assert parse_switches("gzip=0") == Switches()


@pytest.mark.parametrize("field", dataclasses.fields(Switches), ids=lambda field: field.name)
def test_each_field_is_a_directive(field: dataclasses.Field[object]) -> None:
    words = {
        "usage": "twice",
        "coding": "br",
        "iterations": "advisor",
        "flavour": "groq",
        "status": "queued",
        "error": "429",
    }
    value = words.get(field.name, "1")

    read = getattr(parse_switches(f"{field.name}={value}"), field.name)

    assert str(int(read) if isinstance(read, bool) else read) == value


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("colour=1", "colour"),
        ("chunk=1; speed=9", "speed"),
        ("gzip", "gzip"),
        ("gzip=yes", "gzip"),
        ("cached=-1", "cached"),
        ("cached=many", "cached"),
        ("cached=1.5", "cached"),
        ("cached=\u0661", "cached"),
        ("cached=", "cached"),
        ("error=200", "error"),
        ("error=600", "error"),
        ("usage=often", "usage"),
        ("tier=", "tier"),
        ("output_tokens=200001", "output_tokens"),
        ("delay_ms=3600001", "delay_ms"),
        ("retry_seconds=1", "retry_seconds"),
        ("coding=deflate", "coding"),
        ("web_searches=101", "web_searches"),
    ],
)
def test_an_unknown_directive_or_value_is_refused_by_name(header: str, name: str) -> None:
    with pytest.raises(InvalidSwitch) as refusal:
        parse_switches(header)

    assert refusal.value.name == name


def test_directives_stand_behind_a_model_s_name_too_and_the_header_wins() -> None:
    assert parse_switches("", "gpt-4o--sim.reasoning.50.silent.1") == Switches(reasoning=50, silent=True)
    assert parse_switches("reasoning=7", "gpt-4o--sim.reasoning.50") == Switches(reasoning=7)
    assert parse_switches("", "gpt-4o") == Switches()


@pytest.mark.parametrize("model", ["m--sim.colour.1", "m--sim.reasoning", "m--sim.reasoning.x"])
def test_a_model_s_directives_are_refused_like_others(model: str) -> None:
    with pytest.raises(InvalidSwitch):
        parse_switches("", model)


def test_what_is_written_is_read_again() -> None:
    switches = Switches(reasoning=5, silent=True, tier="flex", cached=0)
    names = [field.name for field in dataclasses.fields(Switches)]

    assert parse_switches(write_directives(switches, names)) == switches
    assert write_directives(switches, ["cached", "tier"]) == "tier=flex"


def test_only_too_many_requests_brings_a_retry_after_of_its_own() -> None:
    assert Switches().retry_seconds(429) == 1
    assert Switches().retry_seconds(200) is None
    assert Switches(retry_after=30).retry_seconds(200) == 30
    assert Switches(retry_after=0).retry_seconds(429) == 0
