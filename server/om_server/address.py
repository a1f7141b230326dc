"""Addresses that settings name: whether they can be used, and how a host and a port are written as one."""

import urllib.parse

import psycopg
from psycopg.conninfo import conninfo_to_dict

_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how to reach what listens everywhere


def joined(host: str, port: int) -> str:
    """Return host:port, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str) -> str:
    """Return the host at which this machine reaches what listens on one."""
    return _LOOPBACK.get(host, host)


def is_origin(value: str) -> bool:
    """Tell whether an address is that of a site, without a path."""
    try:
        parts = urllib.parse.urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    plain = parts.path in {"", "/"} and not parts.query and not parts.fragment
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain and port != 0


def is_issuer(value: str) -> bool:
    """Tell whether an identity provider may call itself so; plain http is for one on this machine."""
    try:
        parts = urllib.parse.urlsplit(value)
    except ValueError:
        return False
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _THIS_MACHINE)
    return safe and bool(parts.hostname) and not parts.query and not parts.fragment


def names_redis(value: str) -> bool:
    """Tell whether an address is that of a Redis server."""
    try:
        parts = urllib.parse.urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    return parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and port != 0


def require_postgres(value: str) -> None:
    """ValueError, without the value, if an address cannot be read as PostgreSQL's client would."""
    reason = "is no address that PostgreSQL reads; percent-encode what is special in the password"
    try:
        parts = conninfo_to_dict(value)
    except psycopg.Error:
        raise ValueError(reason) from None
    host, port = str(parts.get("host", "")), str(parts.get("port", ""))
    # After an @ that is not encoded, the rest of a password is read as the host, and hosts are shown.
    if "@" in host or (port and not port.replace(",", "").isdigit()):
        raise ValueError(reason)
