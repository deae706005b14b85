"""Capturing where there is no AF_PACKET (macOS, BSD): through scapy's libpcap sockets.

Slower than `sockets`: time stamps are in microseconds, and packets longer than 65,535 octets are
cut. An interface that goes down ends the recording there; surviving that is Linux only.
"""

from __future__ import annotations

import ctypes

from smtpscope.errors import SmtpscopeError, UsageError
from smtpscope.recorders.interfaces import InterfaceInfo
from smtpscope.recorders.owner import NoPermissionError
from smtpscope.recorders.sockets import Append

_DLT_NULL, _DLT_RAW = 0, 12
_LINKTYPE_RAW = 101


class LibpcapSocket:
    """A tap on a libpcap handle; `filter` is an expression of pcap-filter(7)."""

    down = False

    def __init__(self, interface: InterfaceInfo, filter: str, promiscuous: bool) -> None:
        """Raises NoPermissionError, UsageError for the filter, SmtpscopeError otherwise."""
        from scapy.config import conf
        from scapy.error import Scapy_Exception

        conf.use_pcap = True
        try:
            from scapy.arch.libpcap import L2pcapListenSocket

            self._scapy = L2pcapListenSocket(interface.name, promisc=promiscuous, filter=filter)
        except ImportError:
            raise SmtpscopeError("capturing needs libpcap here: install it") from None
        except Scapy_Exception as error:
            raise UsageError(
                f"the filter {filter!r} does not work on {interface.name}: {error};"
                " see pcap-filter(7)"
            ) from None
        except OSError as error:
            if "ermi" in str(error):
                raise NoPermissionError("capturing is not permitted") from None
            raise SmtpscopeError(f"{interface.name} can't be captured from: {error}") from None
        self._handle = self._scapy.pcap_fd
        self._handle.setnonblock(True)
        self.name = interface.name
        linktype = int(self._handle.datalink())
        self.linktype = _LINKTYPE_RAW if linktype == _DLT_RAW else linktype
        self.more = False
        self.received = 0
        self.dropped = 0

    def fileno(self) -> int:
        return int(self._scapy.fileno())

    def drain(self, append: Append, wire: int, most: int) -> int:
        """Append up to `most` packets; how many these were."""
        for appended in range(most):
            time, octets = self._handle.next()
            if octets is None:
                self.more = False
                return appended
            original = int(self._handle.header.contents.len)
            append(wire, round(time * 1_000_000) * 1_000, octets, original)
        self.more = True
        return most

    def count(self) -> None:
        """Bring `received` and `dropped` up to date."""
        from scapy.libs.winpcapy import pcap_stat, pcap_stats

        counters = pcap_stat()
        if pcap_stats(self._handle.pcap, ctypes.byref(counters)) == 0:
            self.received, self.dropped = counters.ps_recv, counters.ps_drop

    def revive(self) -> bool:
        """An interface that went down is not known of here."""
        return True
