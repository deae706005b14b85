"""The network interfaces of this machine: what `-D` lists and `-i` may name. Needs no privilege."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from smtpscope.errors import UsageError

ANY = "any"

ETHERNET, RAW_IP = 1, 101
"""Link types, as in the LINKTYPE list."""

# Hardware types of if_arp.h. All but those with an Ethernet header are recorded as plain IP.
_ETHERNET_TYPES = {1, 772}
_HARDWARE = {1: "Ethernet", 512: "PPP", 772: "loopback", 801: "wireless", 65534: "tunnel"}


class InterfaceInfo(NamedTuple):
    """An interface: `up` as its administrator set it, `addresses` IPv4 first."""

    name: str
    description: str
    addresses: tuple[str, ...]
    up: bool
    loopback: bool
    linktype: int


def list_interfaces() -> list[InterfaceInfo]:
    """All interfaces: those that are up and have an address first, loopback behind the others."""
    # scapy warns of link types whose dissectors are not loaded, which we don't want to have.
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    import scapy.arch  # noqa: F401  (fills conf.ifaces)
    from scapy.config import conf
    from scapy.interfaces import NetworkInterface

    def described(found: NetworkInterface) -> InterfaceInfo:
        loopback = bool(found.flags.LOOPBACK)
        description = "loopback" if loopback else _description(found)
        addresses = (*found.ips.get(4, ()), *found.ips.get(6, ()))
        linktype = ETHERNET if found.type in _ETHERNET_TYPES else RAW_IP
        return InterfaceInfo(
            found.network_name, description, addresses, bool(found.flags.UP), loopback, linktype
        )

    conf.ifaces.reload()
    interfaces = [described(found) for found in conf.ifaces.values()]
    return sorted(
        interfaces, key=lambda one: (not one.up, not one.addresses, one.loopback, one.name)
    )


def choose_interfaces(names: Sequence[str]) -> list[InterfaceInfo]:
    """The interfaces of these names, each once; "any" is all that are up. Raises UsageError."""
    if not names:
        raise UsageError("no interface is named: give one with -i, -D lists them")
    known = {one.name: one for one in list_interfaces()}
    if ANY in names:
        up = [one for one in known.values() if one.up]
        if not up:
            raise UsageError("no interface is up: bring one up first, such as `ip link set lo up`")
        return up
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            listed = ", ".join([*known, ANY])
            raise UsageError(f"there is no interface {name}{hint}: choose from {listed}")
    return [known[name] for name in dict.fromkeys(names)]


def _description(found: object) -> str:
    name, hardware = getattr(found, "network_name", ""), getattr(found, "type", 0)
    device = Path("/sys/class/net", name)
    try:
        facts = (device / "uevent").read_text()
    except OSError:
        facts = ""
    for fact in facts.splitlines():
        if fact.startswith("DEVTYPE="):
            kind = fact.removeprefix("DEVTYPE=")
            return {"wlan": "wireless", "vlan": "VLAN", "wireguard": "WireGuard"}.get(kind, kind)
    said = str(getattr(found, "description", "") or "")
    return said if said not in ("", name) else _HARDWARE.get(hardware, "other")
