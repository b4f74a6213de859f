"""Addresses to which something is sent: encrypted on the way, unless they are of this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class AddressRefused(ValueError):
    """Nothing is sent to such an address. Names the setting and the remedy, never the address."""


def is_local(address: str, setting: str) -> bool:
    """Whether an address, out of the named setting, is of this machine. Raises AddressRefused for any other that is
    not https."""
    parts = urlsplit(address)
    of_this_machine = parts.hostname in LOCAL_HOSTS
    if not (parts.scheme == "https" and parts.hostname) and not (parts.scheme == "http" and of_this_machine):
        raise AddressRefused(f"{setting} is no https address; give one that begins with https")
    return of_this_machine
