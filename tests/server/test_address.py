import pytest

from om_server import address


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://om.example", True),
        ("http://localhost:3000/", True),
        ("https://om.example/path", False),
        ("https://om.example?x=1", False),
        ("https://om.example#x", False),
        ("https://om.example:0", False),
        ("https://om.example:port", False),
        ("ftp://om.example", False),
        ("om.example", False),
        ("https://", False),
    ],
)
def test_an_origin_is_a_site_without_a_path(value: str, expected: bool) -> None:  # noqa: FBT001 - A column.
    assert address.is_origin(value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://provider.example/tenant", True),
        ("http://localhost:9000/realm", True),
        ("http://[::1]:9000", True),
        ("http://provider.example", False),
        ("https://provider.example?tenant=1", False),
        ("https://[", False),
    ],
)
def test_an_issuer_is_secure_or_on_this_machine(value: str, expected: bool) -> None:  # noqa: FBT001 - As above.
    assert address.is_issuer(value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("redis://cache:6379/0", True),
        ("rediss://:secret@cache", True),
        ("unix:///run/redis.sock", True),
        ("unix://", False),
        ("http://cache", False),
        ("redis://cache:0", False),
        ("redis://cache:port", False),
    ],
)
def test_redis_is_at_a_host_or_a_socket(value: str, expected: bool) -> None:  # noqa: FBT001 - As above.
    assert address.names_redis(value) is expected


@pytest.mark.parametrize(
    "value", ["postgresql://om:can@ary@db/om", "postgresql://om:canary@db:port/om", "postgresql://om:%zz@db"]
)
def test_a_password_that_is_not_encoded_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(ValueError, match="percent-encode") as refused:
        address.require_postgres(value)

    assert "canary" not in str(refused.value)
    address.require_postgres("postgresql://om:can%40ary@db:5432/om")


def test_a_host_and_a_port_are_one_address_also_in_version_6() -> None:
    assert address.joined("db", 5) == "db:5"
    assert address.joined("::1", 5) == "[::1]:5"
    assert (address.reachable("0.0.0.0"), address.reachable("::")) == ("127.0.0.1", "::1")  # noqa: S104 - unbound
    assert address.reachable("10.0.0.1") == "10.0.0.1"
