"""Interfaces: what is listed, and what a name chooses."""

from __future__ import annotations

import subprocess
import sys

import pytest
from namespace import Namespace
from recorder import as_nobody

from smtpscope.errors import UsageError
from smtpscope.recorders.interfaces import ETHERNET, RAW_IP, choose_interfaces, list_interfaces


def test_loopback_is_listed_with_its_addresses() -> None:
    (loopback,) = [one for one in list_interfaces() if one.loopback]
    assert loopback.name == "lo"
    assert loopback.up
    assert "127.0.0.1" in loopback.addresses
    assert loopback.linktype == ETHERNET


def test_what_can_be_captured_from_comes_first() -> None:
    listed = list_interfaces()
    assert [one.up for one in listed] == sorted((one.up for one in listed), reverse=True)


@pytest.mark.live
def test_listing_needs_no_privilege() -> None:
    code = "from smtpscope.recorders.interfaces import *; print(len(list_interfaces()))"
    argv = [*as_nobody(), sys.executable, "-c", code]
    found = subprocess.run(argv, capture_output=True, check=True)
    assert int(found.stdout) == len(list_interfaces())
    assert not found.stderr


def test_an_unknown_name_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"no interface loo \(did you mean lo\?\).*lo.*any"):
        choose_interfaces(["lo", "loo"])
    with pytest.raises(UsageError, match="-D"):
        choose_interfaces([])


def test_each_interface_is_chosen_once() -> None:
    assert [one.name for one in choose_interfaces(["lo", "lo"])] == ["lo"]
    assert all(one.up for one in choose_interfaces(["any", "lo"]))
    assert "lo" in [one.name for one in choose_interfaces(["any"])]


@pytest.mark.live
def test_kinds_of_interfaces_are_named(namespace: Namespace) -> None:
    namespace.run("ip link add v0 type veth peer name v1")
    namespace.run("ip tuntap add tun0 mode tun")
    with namespace.inside():
        found = {one.name: one for one in list_interfaces()}
    list_interfaces()
    assert found["tun0"].description == "tunnel"
    assert found["tun0"].linktype == RAW_IP
    assert found["v0"].linktype == ETHERNET
    assert not found["v0"].up
