"""Base URLs of HTTP providers, and which hosts are this machine."""

from __future__ import annotations

import ipaddress
import re

PORT_MAX = 65_535
BASE_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(/[A-Za-z0-9._~%-]+)*)"
)
BASE_URL_FORM = 'write it like "https://api.example.net", a path behind it if need be'


def parse_base_url(text: str) -> str:
    """Read it. Each call carries the provider's key, so in the clear it may only go to this machine.

    Raises ValueError: what is wrong; what would be right. It never repeats the URL: what does not belong into it may
    be a key.
    """
    written = text.strip()
    if written.endswith("/") and BASE_URL.fullmatch(written.rstrip("/")):
        raise ValueError("ends in a slash; leave the slash out: paths are put behind it")
    match = BASE_URL.fullmatch(written)
    if match is None or not 0 < int(match["port"] or 443) <= PORT_MAX:
        raise ValueError(f"is more or less than https://, host, port and path; {BASE_URL_FORM}")
    if match["scheme"] == "http" and not is_loopback(match["host"].strip("[]")):
        right = 'write https://, or go to this machine, like "http://127.0.0.1:9000"'
        raise ValueError(f"would send the key in the clear; {right}")
    return written


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it. A name other than localhost may be anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
