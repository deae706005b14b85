"""Capture filters as classic BPF programs: our own for a list of ports, libpcap's for expressions.

A program is the octets of an array of `struct sock_filter`. What it accepts it accepts whole.
"""

from __future__ import annotations

import ctypes
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct

from smtpscope.errors import UsageError
from smtpscope.recorders.interfaces import ETHERNET, RAW_IP, InterfaceInfo

CAPTURED = 262_144
"""Octets that are recorded of a packet at most, as tcpdump does."""
PORTS_BOUND = 500
"""Ports of a list; the kernel takes 4,096 instructions."""

_INSTRUCTION = Struct("HBBI")
_SO_ATTACH_FILTER = 26

# Opcodes of linux/bpf_common.h.
_LOAD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_AT_X, _LOAD_MEMORY, _X_IP_LENGTH = 0x48, 0x60, 0xB1
_STORE, _AND, _JUMP, _EQUAL, _BITS, _RETURN = 0x02, 0x54, 0x05, 0x15, 0x45, 0x06

_IPV4, _IPV6, _TCP = 0x0800, 0x86DD, 6
_VLAN = (0x8100, 0x88A8, 0x9100)

_Line = tuple[int, int, str | None, str | None]
"""Opcode, operand, and the labels to go on at if true and if not (None: at the next line)."""


def ports_expression(ports: Sequence[int], linktype: int = ETHERNET) -> str:
    """What `ports_program` accepts, in the language of pcap-filter(7)."""
    listed = " or ".join(f"tcp port {port}" for port in ports)
    return f"{listed} or (vlan and ({listed}))" if linktype == ETHERNET else listed


def ports_program(ports: Sequence[int], linktype: int) -> bytes:
    """Accept TCP over IPv4 or IPv6 from or to these ports; on Ethernet with one VLAN tag or none.

    Raises UsageError for an empty or endless list.
    """
    if not 0 < len(ports) <= PORTS_BOUND:
        raise UsageError(f"give a filter with -f, or between 1 and {PORTS_BOUND} ports")
    # `ja` alone jumps further than 255 lines: so everything far away ends here and now.
    lines: list[_Line | str] = []
    if linktype == RAW_IP:
        lines += [(_LOAD_BYTE, 0, None, None), (_AND, 0xF0, None, None)]
        lines += [(_EQUAL, 0x40, "ipv4", None), (_EQUAL, 0x60, "ipv6", "no")]
        lines += _addresses("", 0)
    else:
        lines += [(_LOAD_HALF, 12, None, None)]
        lines += [(_EQUAL, _IPV4, "ipv4", None), (_EQUAL, _IPV6, "ipv6", None)]
        lines += [(_EQUAL, kind, "tagged", None) for kind in _VLAN]
        lines += [(_JUMP, 0, "no", None), "tagged", (_LOAD_HALF, 16, None, None)]
        lines += [(_EQUAL, _IPV4, "ipv4 tagged", None), (_EQUAL, _IPV6, "ipv6 tagged", "no")]
        lines += [*_addresses("", 14), *_addresses(" tagged", 18)]
    # The kernel takes a load from memory behind a `ret` for one from memory that nobody has set.
    lines += ["no", (_JUMP, 0, "end", None), "ports"]
    for memory in (0, 1):
        lines.append((_LOAD_MEMORY, memory, None, None))
        for number, port in enumerate(ports):
            another = f"{memory} {number}"
            lines += [(_EQUAL, port, None, another), (_RETURN, CAPTURED, None, None), another]
    lines += ["end", (_RETURN, 0, None, None)]
    return b"".join(_assemble(lines))


def expression_program(text: str, interface: InterfaceInfo) -> bytes:
    """Have libpcap compile an expression for an interface.

    Raises UsageError where it makes no sense, and where there is no libpcap.
    """
    from scapy.arch.common import compile_filter, free_filter
    from scapy.error import Scapy_Exception
    from scapy.interfaces import resolve_iface

    try:
        if interface.linktype == ETHERNET and re.search(r"\bvlan\b", text):
            # The kernel takes VLAN tags off; only for an open interface libpcap knows of that. So
            # scapy must not recognise the type of hardware, from which it guesses the link type.
            live = resolve_iface(interface.name)
            hardware, live.type = live.type, None
            try:
                compiled = compile_filter(text, live)
            finally:
                live.type = hardware
        else:
            linktype = 12 if interface.linktype == RAW_IP else interface.linktype
            compiled = compile_filter(text, linktype=linktype)
    except Scapy_Exception as error:
        said = str(error).rpartition(" (")[2].removesuffix(")")
        raise UsageError(
            f"the filter {text!r} does not work on {interface.name}: {said}; see pcap-filter(7)"
        ) from None
    except ImportError:
        raise UsageError(
            "filters of your own need libpcap, which is not installed: install it (Debian:"
            " libpcap0.8), or leave -f away to record the SMTP ports"
        ) from None
    program = ctypes.string_at(compiled.bf_insns, compiled.bf_len * _INSTRUCTION.size)
    free_filter(compiled)
    return b"".join(map(_whole, _INSTRUCTION.iter_unpack(program)))


def attach(capture: socket.socket, program: bytes) -> None:
    """Put a filter into force, in place of the one before."""
    octets = ctypes.create_string_buffer(program, len(program))
    pointer = ctypes.addressof(octets)
    description = Struct("HP").pack(len(program) // _INSTRUCTION.size, pointer)
    capture.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, description)


NOTHING = _INSTRUCTION.pack(_RETURN, 0, 0, 0)
"""The program that accepts no packet."""


def _whole(instruction: tuple[int, ...]) -> bytes:
    code, true, false, operand = instruction
    if code == _RETURN and operand:
        # scapy has libpcap cut packets at 65,535 octets.
        operand = CAPTURED
    return _INSTRUCTION.pack(code, true, false, operand)


def _addresses(suffix: str, at: int) -> Iterable[_Line | str]:
    """Leave the ports of the packet at octet `at` in memory 0 and 1."""
    return [
        f"ipv4{suffix}",
        (_LOAD_BYTE, at + 9, None, None),
        (_EQUAL, _TCP, None, f"no{suffix}"),
        # Only a first fragment has ports.
        (_LOAD_HALF, at + 6, None, None),
        (_BITS, 0x1FFF, f"no{suffix}", None),
        (_X_IP_LENGTH, at, None, None),
        (_LOAD_HALF_AT_X, at, None, None),
        (_STORE, 0, None, None),
        (_LOAD_HALF_AT_X, at + 2, None, None),
        (_STORE, 1, None, None),
        (_JUMP, 0, "ports", None),
        f"ipv6{suffix}",
        (_LOAD_BYTE, at + 6, None, None),
        (_EQUAL, _TCP, None, f"no{suffix}"),
        (_LOAD_HALF, at + 40, None, None),
        (_STORE, 0, None, None),
        (_LOAD_HALF, at + 42, None, None),
        (_STORE, 1, None, None),
        (_JUMP, 0, "ports", None),
        f"no{suffix}",
        (_JUMP, 0, "end", None),
    ]


def _assemble(lines: Sequence[_Line | str]) -> Iterator[bytes]:
    """Turn labels into distances."""
    labels: dict[str | None, int] = {}
    code: list[_Line] = []
    for line in lines:
        if isinstance(line, str):
            labels.setdefault(line, len(code))
        else:
            code.append(line)
    for number, (opcode, operand, true, false) in enumerate(code, 1):
        if opcode == _JUMP:
            yield _INSTRUCTION.pack(opcode, 0, 0, labels[true] - number)
        else:
            distances = (labels.get(true, number) - number, labels.get(false, number) - number)
            yield _INSTRUCTION.pack(opcode, *distances, operand)
