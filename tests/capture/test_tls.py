"""What TLS shows of itself, read from handshakes that Python's ssl module makes for the test."""

from __future__ import annotations

import ssl
import tempfile
from contextlib import suppress
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.capture.tls import (
    MAX_ALERTS,
    MAX_HANDSHAKE,
    MAX_LISTED,
    MAX_RECORD,
    Alert,
    Seen,
    TlsInfo,
    TlsObserver,
    looks_like_tls,
)
from smtpscope.capture.tls_names import SUITES
from smtpscope.stream import Data, Direction, Mark

C, S = Direction.CLIENT, Direction.SERVER
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

# Made for these tests alone; nothing trusts it.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1TZQNBCgSrx30BVM
P8LeEOc2mOgXFt9jCbZC8KpJj1qhRANCAASLA1UEc3t/jhY9ym9uSh0lIamH95Eg
uAZLp8E7t92sIqT7eiK+syYTkGHzg0k1f5EskJRaVpRctlg+ZtfyERQE
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBejCCASGgAwIBAgIUfNCvMsqPR8Yv+SFH+91A913X6okwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHbXgudGVzdDAgFw0yNjExMjMyMzM1MDZaGA8yMTI2MTAzMDIz
MzUwNlowEjEQMA4GA1UEAwwHbXgudGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABIsDVQRze3+OFj3Kb25KHSUhqYf3kSC4BkunwTu33awipPt6Ir6zJhOQYfOD
STV/kSyQlFpWlFy2WD5m1/IRFASjUzBRMB0GA1UdDgQWBBSJ6Pp1mjagvLT+l7ZM
VZkATTWKyjAfBgNVHSMEGDAWgBSJ6Pp1mjagvLT+l7ZMVZkATTWKyjAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIBZS/aQIhNBZDBAPMa5Dp8sXFNXr
8TlMjkmM3GHsdw+JAiBTpsxf2ZDBtI+DRLfM5JFGW2/aAba3zDWQzd13hkQ/IQ==
-----END CERTIFICATE-----
"""


class Peers:
    """A client and a server in memory; `turns` keeps what they sent as (direction, octets)."""

    def __init__(self, highest=TLS13, curve=None):
        self.client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client_context.check_hostname = False
        self.client_context.verify_mode = ssl.CERT_NONE
        self.client_context.maximum_version = highest
        self.client_context.set_alpn_protocols(["smtp", "x/1"])
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.set_alpn_protocols(["smtp"])
        if curve:
            self.server_context.set_ecdh_curve(curve)
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(CERTIFICATE)
            file.flush()
            self.server_context.load_cert_chain(file.name)

    def meet(self, session=None):
        """Shake hands, greet and answer, and say goodbye as far as the peers agree."""
        self.turns = []
        self.bios = [ssl.MemoryBIO() for _ in range(4)]
        to_client, from_client, to_server, from_server = self.bios
        self.client = self.client_context.wrap_bio(
            to_client, from_client, server_hostname="mx.test", session=session
        )
        self.server = self.server_context.wrap_bio(to_server, from_server, server_side=True)
        with suppress(ssl.SSLError):
            for _ in range(4):
                self._do(self.client.do_handshake)
                self._do(self.server.do_handshake)
            for writer, reader in ((self.server, self.client), (self.client, self.server)):
                self._do(lambda writer=writer: writer.write(b"longer than an alert\r\n"))
                reader.read()
            self._do(self.client.unwrap)
        return self.turns

    def _do(self, step):
        try:
            with suppress(ssl.SSLWantReadError):
                step()
        finally:
            to_client, from_client, to_server, from_server = self.bios
            for way, source, sink in ((C, from_client, to_server), (S, from_server, to_client)):
                if octets := source.read():
                    sink.write(octets)
                    self.turns.append((way, octets))


@cache
def dialogue(name):
    if name == "TLSv1.2":
        return Peers(TLS12).meet()
    if name == "TLSv1.3":
        return Peers().meet()
    if name == "retry":
        return Peers(curve="secp384r1").meet()
    if name == "refused":
        peers = Peers()
        peers.server_context.minimum_version = TLS13
        peers.client_context.maximum_version = TLS12
        return peers.meet()
    if name == "untrusted":
        peers = Peers()
        peers.client_context.verify_mode = ssl.CERT_REQUIRED
        return peers.meet()
    peers = Peers(TLS12 if name == "resumed TLSv1.2" else TLS13)
    peers.meet()
    return peers.meet(peers.client.session)


DIALOGUES = [
    "TLSv1.2",
    "TLSv1.3",
    "retry",
    "refused",
    "untrusted",
    "resumed TLSv1.2",
    "resumed TLSv1.3",
]


def feed(observer, direction, octets, time=0):
    at = observer.info.octets[direction]
    observer.feed(Data(direction, at, octets, (Mark(at, time, 1),)))


def observed(turns):
    observer = TlsObserver()
    for direction, octets in turns:
        feed(observer, direction, octets)
    return observer


def record(kind, payload, version=b"\x03\x03"):
    return bytes((kind,)) + version + len(payload).to_bytes(2, "big") + payload


def message(kind, body):
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def server_hello(version, cipher, extensions=b""):
    listed = len(extensions).to_bytes(2, "big") + extensions if extensions else b""
    return message(2, version + bytes(32) + b"\x00" + cipher + b"\x00" + listed)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_handshake_shows_version_name_and_suite(version):
    observer = observed(dialogue(version))
    info = observer.info
    assert observer.broken == [None, None]
    assert (info.version, info.offered, info.sni) == (version, version, "mx.test")
    assert info.cipher in SUITES.values()
    assert info.cipher.startswith("TLS_ECDHE_ECDSA" if version == "TLSv1.2" else "TLS_AES")
    assert info.alpn_offered == ("smtp", "x/1")
    assert info.alpn == ("smtp" if version == "TLSv1.2" else None)
    assert info.established
    assert info.resumed is False
    sent = [sum(len(octets) for way, octets in dialogue(version) if way == d) for d in (C, S)]
    assert info.octets == sent


def test_a_second_hello_after_a_retry_is_read():
    first, retry, second = dialogue("retry")[:3]
    assert (first[1][5], retry[1][5], second[1][:1], second[1][11]) == (1, 2, b"\x14", 1)
    only_second = observed([second]).info
    assert (only_second.sni, only_second.offered) == ("mx.test", "TLSv1.3")
    info = observed(dialogue("retry")).info
    assert (info.version, info.resumed, info.established) == ("TLSv1.3", False, True)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_resumed_session_is_told_from_a_new_one(version):
    info = observed(dialogue(f"resumed {version}")).info
    assert (info.version, info.resumed, info.established) == (version, True, True)


def test_a_refused_version_leaves_its_alert():
    info = observed(dialogue("refused")).info
    assert info.alerts == [Alert(S, "fatal", "protocol_version")]
    assert (info.offered, info.version, info.established) == ("TLSv1.2", None, False)


def test_a_client_that_rejects_the_certificate_establishes_nothing():
    info = observed(dialogue("untrusted")).info
    assert info.version == "TLSv1.3"
    assert not info.established


def test_a_goodbye_under_encryption_is_an_alert_without_a_name():
    assert Alert(C, None, None) in observed(dialogue("TLSv1.2")).info.alerts


@given(st.sampled_from(DIALOGUES), st.data())
def test_any_chunking_gives_the_same(name, data):
    turns = dialogue(name)
    whole = observed(turns)
    pieces = []
    for direction, octets in turns:
        cuts = data.draw(st.lists(st.integers(0, len(octets)), max_size=8))
        edges = sorted({0, *cuts, len(octets)})
        pieces += [(direction, octets[start:end]) for start, end in pairwise(edges)]
    again = observed(pieces)
    assert (again.info, again.broken) == (whole.info, whole.broken)


@pytest.mark.parametrize("name", DIALOGUES)
def test_octet_by_octet_gives_the_same(name):
    turns = dialogue(name)
    octets = [(d, data[i : i + 1]) for d, data in turns for i in range(len(data))]
    assert observed(octets).info == observed(turns).info


def test_a_hello_may_be_spread_over_many_records():
    _, first = dialogue("TLSv1.3")[0]
    hello = first[5:]
    spread = b"".join(record(22, hello[i : i + 50]) for i in range(0, len(hello), 50))
    info = observed([(C, spread)]).info
    assert (info.sni, info.offered) == ("mx.test", "TLSv1.3")


@given(st.lists(st.tuples(st.sampled_from([C, S]), st.binary(max_size=60)), max_size=8))
def test_garbage_never_raises(turns):
    info = observed(turns).info
    assert sum(info.octets) == sum(len(octets) for _, octets in turns)


@given(st.sampled_from(DIALOGUES), st.data())
def test_a_damaged_handshake_never_raises(name, data):
    observer = TlsObserver()
    for direction, octets in dialogue(name):
        damaged = bytearray(octets)
        for index in data.draw(st.lists(st.integers(0, len(octets) - 1), max_size=4)):
            damaged[index] = data.draw(st.integers(0, 255))
        feed(observer, direction, bytes(damaged))
        observer.gap(direction, data.draw(st.integers(0, 3)))
    assert isinstance(observer.info, TlsInfo)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"220 mx.test ESMTP\r\n", "no TLS record: 32 32 30 20 6d"),
        (b"\x16\x03\x01\xff\xff", "a record of 65535 octets"),
        (b"\x80\x2e\x01\x03\x01", "no TLS record: 80 2e 01 03 01"),
    ],
)
def test_what_is_no_record_ends_that_direction_alone(octets, reason):
    observer = observed([(S, octets), (S, b"more"), *dialogue("TLSv1.2")[:1]])
    assert observer.broken == [None, reason]
    assert observer.info.sni == "mx.test"
    assert observer.info.octets[S] == len(octets) + 4


def test_a_suite_or_version_without_a_name_stands_as_a_number():
    info = observed([(S, record(22, server_hello(b"\x03\x09", b"\xc0\xff")))]).info
    assert (info.version, info.cipher) == ("0x0309", "0xC0FF")


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("1301", "TLS_AES_128_GCM_SHA256"),
        ("0005", "TLS_RSA_WITH_RC4_128_SHA"),
        ("0017", "TLS_DH_anon_EXPORT_WITH_RC4_40_MD5"),
        ("0000", "TLS_NULL_WITH_NULL_NULL"),
        ("000a", "TLS_RSA_WITH_3DES_EDE_CBC_SHA"),
        ("0033", "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"),
        ("006b", "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256"),
        ("009f", "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"),
        ("c014", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
        ("c028", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
        ("c02f", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        ("c0af", "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8"),
        ("cca8", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ],
)
def test_suites_have_the_names_that_iana_gave_them(number, name):
    hello = record(22, server_hello(b"\x03\x03", bytes.fromhex(number)))
    assert observed([(S, hello)]).info.cipher == name


# RFC 5246 appendix E.2
@pytest.mark.parametrize(("version", "name"), [(b"\3\1", "TLSv1.0"), (b"\0\2", "SSLv2")])
def test_a_hello_in_ssl_2_form_is_understood(version, name):
    body = b"\x01" + version + b"\x00\x03\x00\x00\x00\x10" + b"\x00\x00\x05" + bytes(16)
    hello = bytes((0x80, len(body))) + body
    observer = observed([(C, hello), (C, record(20, b"\x01"))])
    assert looks_like_tls(hello) is True
    assert observer.info.offered == name
    assert observer.info.records == [2, 0]
    assert observer.broken == [None, None]


def test_a_handshake_message_beyond_the_bound_is_skipped():
    long = message(11, bytes(MAX_HANDSHAKE + 1))
    done = server_hello(b"\x03\x03", b"\xc0\x2f")
    stream = long + done
    records = b"".join(record(22, stream[i : i + 9000]) for i in range(0, len(stream), 9000))
    assert observed([(S, records)]).info.cipher == "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"


def test_alerts_are_kept_up_to_their_bound():
    alerts = observed([(C, record(21, b"\x01\x5a") * 100)]).info.alerts
    assert alerts == [Alert(C, "warning", "user_canceled")] * MAX_ALERTS


def test_an_alert_without_a_name_stands_as_numbers():
    assert observed([(C, record(21, b"\x07\xfe"))]).info.alerts == [Alert(C, "7", "254")]


def test_sizes_and_times_of_records_are_kept_up_to_their_bound():
    observer = TlsObserver()
    sealed = record(23, bytes(30))
    feed(observer, S, sealed[:4], 1)
    feed(observer, S, sealed[4:] + sealed[:1], 2)
    feed(observer, C, record(21, b"\1\0"), 3)
    feed(observer, S, sealed[1:], 4)
    info = observer.info
    assert info.listed == [Seen(S, 23, 30, 2), Seen(C, 21, 2, 3), Seen(S, 23, 30, 4)]
    assert (info.first, info.last) == ([3, 1], [3, 4])
    feed(observer, S, sealed * 100, 5)
    assert (len(info.listed), info.records) == (MAX_LISTED, [1, 102])


def test_a_gap_inside_application_data_costs_nothing():
    observer = observed([(S, record(23, bytes(100))[:20])])
    observer.gap(S, 50)
    feed(observer, S, bytes(35) + record(21, b"\x01\x00"))
    assert observer.broken == [None, None]
    assert observer.info.alerts == [Alert(S, "warning", "close_notify")]
    assert observer.info.records == [0, 2]


def test_a_gap_up_to_a_records_end_ends_the_record():
    observer = observed([(C, record(20, b"\x01")[:5])])
    observer.gap(C, 1)
    feed(observer, C, record(21, b"\x02\x28"))
    assert observer.info.alerts == [Alert(C, "fatal", "handshake_failure")]


def test_behind_a_longer_gap_a_record_is_found_or_the_direction_ends():
    found, lost = TlsObserver(), TlsObserver()
    for observer in (found, lost):
        feed(observer, S, record(22, server_hello(b"\x03\x03", b"\xc0\x2f"))[:10])
        observer.gap(S, 1000)
    feed(found, S, record(23, bytes(30)))
    feed(lost, S, bytes(30))
    assert found.broken == [None, None]
    assert found.info.records[S] == 2
    assert lost.broken == [None, "no record behind a gap"]
    assert lost.info.cipher is None


def test_an_encrypted_finished_is_not_taken_for_a_hello():
    finished = record(22, b"\x02" + bytes(39))
    hello = record(22, server_hello(b"\x03\x03", b"\xc0\x2f"))
    info = observed([(S, hello + record(20, b"\x01") + finished)]).info
    assert info.version == "TLSv1.2"


def test_tls_is_recognized_as_soon_as_it_can_be():
    hello = dialogue("TLSv1.3")[0][1]
    assert [looks_like_tls(hello[:n]) for n in range(7)] == [None] * 5 + [True, True]


@pytest.mark.parametrize(
    "data",
    [
        b"E",
        b"220 mx.test\r\n",
        b"\x16\x02",
        b"\x16\x03\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x18\x03\x01\x00\x10",
        b"\x16\x03\x01" + (MAX_RECORD + 1).to_bytes(2, "big"),
        b"\x80\x2e\x02",
        b"\x80\x2e\x01\x00\x03",
        "Ünïcode".encode(),
    ],
)
def test_other_protocols_do_not_look_like_tls(data):
    assert looks_like_tls(data) is False


@given(st.binary(max_size=8))
def test_more_octets_never_change_a_verdict(data):
    verdicts = [looks_like_tls(data[:n]) for n in range(len(data) + 1)]
    decided = [verdict for verdict in verdicts if verdict is not None]
    assert len(set(decided)) <= 1
