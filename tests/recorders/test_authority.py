"""Our CA: made once and whatever happens at once, in nobody else's hands, and good for clients."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from processes import program

from smtpscope.errors import SmtpscopeError
from smtpscope.recorders import authority as module
from smtpscope.recorders.authority import (
    FILE,
    LEAF_LIFETIME,
    LIFETIME,
    MAX_CONTEXTS,
    Authority,
    is_there,
    renewed,
)
from smtpscope.recorders.certificate_names import Names, names_of
from smtpscope.recorders.certificates import made
from smtpscope.recorders.tls import KeyLog, TlsSession

ROOT = Path(__file__).parents[2]
NAMES = Names().including("mx.example.org", "*.wild.example", "127.0.0.1", "::1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ca"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Lets time pass."""
    usual = module._now

    def later(by: timedelta) -> None:
        monkeypatch.setattr(module, "_now", lambda: usual() + by)

    return later


def trusting(authority: Authority) -> ssl.SSLContext:
    """A strict client's context that trusts this CA alone."""
    context = ssl.create_default_context(cadata=authority.der())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert context.check_hostname
    return context


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> TlsSession:
    """The client's side of a handshake. Raises ssl.SSLError."""
    ours = TlsSession(server, server=True)
    theirs = TlsSession(client, server=False, name=name)
    for _ in range(4):
        theirs.receive(ours.take())
        ours.receive(theirs.take())
    assert ours.ready
    assert theirs.ready
    return theirs


# -- on the disk -----------------------------------------------------------------------------------


def test_it_is_made_once_and_is_its_owners_alone(folder: Path) -> None:
    assert not is_there(folder)
    first = Authority(folder)
    assert first.made
    assert is_there(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [(path.name, path.stat().st_mode & 0o777) for path in folder.iterdir()] == [
        (FILE, 0o600)
    ]
    second = Authority(folder)
    assert not second.made
    assert second.der() == first.der()
    assert second.path == folder / FILE


def test_its_certificate_says_what_it_is_and_whose(folder: Path) -> None:
    found = Authority(folder)
    assert found.subject.startswith("smtpscope CA (")
    assert found.subject.endswith(")")
    assert "@" in found.subject
    assert found.days_left == LIFETIME.days - 1
    extensions = found.certificate.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    extensions.get_extension_for_class(x509.SubjectKeyIdentifier)


def test_odd_names_of_user_and_host_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr(socket, "gethostname", lambda: "\x1bü" * 100)
    monkeypatch.setattr("getpass.getuser", nobody)
    subject = Authority(folder).subject
    assert subject.startswith("smtpscope CA (?@__")
    assert subject.isprintable()
    assert len(subject) == 64


def test_processes_that_start_at_once_have_the_same_one(folder: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from smtpscope.recorders.authority import Authority\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "found = Authority(Path(sys.argv[1]))\n"
        "print(found.made, found.fingerprint)\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(4)
    ]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in started:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    said = [each.communicate(timeout=60)[0].split() for each in started]
    assert sorted(made for made, _ in said) == ["False", "False", "False", "True"]
    assert {fingerprint for _, fingerprint in said} == {Authority(folder).fingerprint}
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_who_finds_it_made_while_waiting_for_the_lock_takes_it(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    found: list[Authority] = []
    waiting = threading.Thread(target=lambda: found.append(Authority(folder)))
    with module._locked(folder):
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        module._write(folder / FILE)
    waiting.join(10)
    assert not found[0].made
    assert found[0].der() == Authority(folder).der()


def _key(octets: bytes) -> bytes:
    return octets.partition(b"-----BEGIN CERTIFICATE")[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda octets, _: b"",
        lambda octets, _: octets[:100],
        lambda octets, _: _key(octets),
        lambda octets, _: octets.removeprefix(_key(octets)),
        lambda octets, other: _key(other) + octets.removeprefix(_key(octets)),
        lambda octets, _: b"\0" * len(octets),
        lambda octets, _: octets.replace(b"PRIVATE", b"ENCRYPTED PRIVATE"),
    ],
)
def test_a_damaged_one_is_told_with_what_to_do_and_stays(
    folder: Path, tmp_path: Path, damage: Callable[[bytes, bytes], bytes]
) -> None:
    octets = Authority(folder).path.read_bytes()
    damaged = damage(octets, Authority(tmp_path / "other").path.read_bytes())
    (folder / FILE).write_bytes(damaged)
    with pytest.raises(SmtpscopeError, match=r"is damaged: .*smtpscope ca renew"):
        Authority(folder)
    assert (folder / FILE).read_bytes() == damaged
    assert renewed(folder).der() == Authority(folder).der()


def test_what_cannot_be_read_or_written_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / FILE).mkdir(parents=True)
    with pytest.raises(SmtpscopeError, match="cannot be read"):
        Authority(folder)
    (folder / FILE).rmdir()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_private", full)
    with pytest.raises(SmtpscopeError, match="No space left on device"):
        Authority(folder)


def test_a_folder_that_others_may_write_to_is_closed(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    Authority(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_renewing_makes_another_key(folder: Path) -> None:
    first = Authority(folder)
    second = renewed(folder)
    assert second.certificate.public_key() != first.certificate.public_key()
    assert second.der() == Authority(folder).der()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(second.context(NAMES), trusting(first), "mx.example.org")


@pytest.mark.parametrize("by", [LIFETIME, -timedelta(days=1)])
def test_out_of_its_time_it_signs_nothing_and_tells_what_to_do(
    folder: Path, clock: Callable[[timedelta], None], by: timedelta
) -> None:
    found = Authority(folder)
    found.check()
    clock(by)
    for act in (found.check, lambda: found.leaf(NAMES), lambda: found.context(NAMES)):
        with pytest.raises(SmtpscopeError, match="smtpscope ca renew"):
            act()
    # It can still be looked at.
    assert Authority(folder).days_left == (-1 if by > timedelta(0) else LIFETIME.days)


# -- leaves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mx.example.org", "a.wild.example", "127.0.0.1", "::1"])
def test_a_strict_client_takes_every_name(folder: Path, name: str) -> None:
    authority = Authority(folder)
    client = shake(authority.context(NAMES), trusting(authority), name)
    der = client.object.getpeercert(binary_form=True)
    assert der is not None
    assert names_of(der) == Names(NAMES.dns, NAMES.addresses, "mx.example.org")


@pytest.mark.parametrize("name", ["other.example", "a.b.wild.example", "127.0.0.2"])
def test_a_client_refuses_what_is_not_named(folder: Path, name: str) -> None:
    authority = Authority(folder)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake(authority.context(NAMES), trusting(authority), name)


def test_who_does_not_trust_it_refuses(folder: Path) -> None:
    server = Authority(folder).context(NAMES)
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        shake(server, ssl.create_default_context(), "mx.example.org")


def test_a_leaf_is_short_lived_and_for_servers_only(folder: Path) -> None:
    authority = Authority(folder)
    leaf = authority.leaf(NAMES, common_name="Mail of Example")
    assert authority.begins <= leaf.not_valid_before_utc < module._now()
    assert leaf.not_valid_after_utc <= module._now() + LEAF_LIFETIME
    assert names_of(leaf.public_bytes(serialization.Encoding.DER)).common_name == "Mail of Example"
    extensions = leaf.extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    assert authority.leaf(NAMES).serial_number != leaf.serial_number
    assert authority.leaf(NAMES).public_key() == leaf.public_key()
    assert leaf.public_key() != authority.certificate.public_key()


def test_a_leaf_does_not_outlive_its_ca(folder: Path, clock: Callable[[timedelta], None]) -> None:
    authority = Authority(folder)
    clock(LIFETIME - timedelta(days=1))
    assert authority.leaf(NAMES).not_valid_after_utc == authority.ends


def test_without_a_name_it_is_for_localhost(folder: Path) -> None:
    authority = Authority(folder)
    shake(authority.context(Names()), trusting(authority), "localhost")


@pytest.mark.parametrize("common_name", ["", "x" * 100, "\x1b[31m", "\udcff"])
def test_a_common_name_that_does_not_fit_is_replaced(folder: Path, common_name: str) -> None:
    long = Names().including("a" * 60 + ".example")
    leaf = Authority(folder).leaf(long, common_name=common_name)
    assert names_of(leaf.public_bytes(serialization.Encoding.DER)) == Names(long.dns, (), "-")


def test_hundreds_of_long_names_still_make_a_handshake(folder: Path) -> None:
    authority = Authority(folder)
    hosts = [f"{number}.{'.'.join(['a' * 60] * 4)}"[:253] for number in range(300)]
    shake(authority.context(Names().including(*hosts)), trusting(authority), hosts[99])


# -- contexts --------------------------------------------------------------------------------------


def test_secrets_of_every_context_go_to_the_key_log(folder: Path) -> None:
    log = KeyLog()
    try:
        authority = Authority(folder, log)
        for name in ("mx.example.org", "other.example"):
            shake(authority.context(Names().including(name)), trusting(authority), name)
            assert log.drain().count(b"CLIENT_TRAFFIC_SECRET_0") == 1
    finally:
        log.close()


def test_a_context_is_configured_once_and_kept_for_its_names(folder: Path) -> None:
    authority = Authority(folder)
    seen: list[ssl.SSLContext] = []
    first = authority.context(NAMES, seen.append)
    assert authority.context(NAMES, seen.append) is first
    assert seen == [first]
    assert authority.context(NAMES) is not first
    assert authority.context(Names().including("other.example"), seen.append) is not first


def test_few_contexts_are_kept_those_that_were_used_last(folder: Path) -> None:
    log = KeyLog()
    authority = Authority(folder, log)
    before = len(os.listdir("/proc/self/fd"))
    first = authority.context(NAMES)
    second = authority.context(Names().including("second.example"))
    for number in range(MAX_CONTEXTS * 2):
        authority.context(Names().including(f"{number}.example"))
        assert authority.context(NAMES) is first
    assert authority.context(Names().including("second.example")) is not second
    del second
    assert len(os.listdir("/proc/self/fd")) - before <= MAX_CONTEXTS + 1
    log.close()


def test_a_context_is_made_anew_before_its_leaf_runs_out(
    folder: Path, clock: Callable[[timedelta], None]
) -> None:
    authority = Authority(folder)
    a_while = timedelta(minutes=10)
    first = authority.context(NAMES)
    clock(LEAF_LIFETIME / 2 - a_while)
    assert authority.context(NAMES) is first
    clock(LEAF_LIFETIME / 2 + a_while)
    assert authority.context(NAMES) is not first


@pytest.mark.parametrize("memory", [True, False])
def test_no_key_of_a_leaf_stays_on_a_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: bool
) -> None:
    authority = Authority(folder)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    if not memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    seen: list[int] = []

    class Watched(ssl.SSLContext):
        def load_cert_chain(self, path: str) -> None:  # type: ignore[override]
            seen.extend(each.stat().st_mode & 0o777 for each in temporary.iterdir())
            super().load_cert_chain(path)

    monkeypatch.setattr(ssl, "SSLContext", Watched)
    authority.context(NAMES)
    assert seen == ([] if memory else [0o600])
    assert not list(temporary.iterdir())
    assert [path.name for path in folder.iterdir()] == [FILE]


# -- other programs --------------------------------------------------------------------------------


def test_openssl_verifies_a_leaf_strictly(folder: Path, tmp_path: Path) -> None:
    openssl = program("openssl")
    authority = Authority(folder)
    ca, leaf = tmp_path / "ca.pem", tmp_path / "leaf.pem"
    ca.write_bytes(authority.pem())
    leaf.write_bytes(authority.leaf(NAMES).public_bytes(serialization.Encoding.PEM))
    for wanted in (
        ["-verify_hostname", "mx.example.org"],
        ["-verify_hostname", "a.wild.example"],
        ["-verify_ip", "127.0.0.1"],
        ["-verify_ip", "::1"],
    ):
        told = subprocess.run(
            [
                *(openssl, "verify", "-x509_strict", "-purpose", "sslserver"),
                *("-no-CApath", "-no-CAstore", "-CAfile", str(ca), *wanted, str(leaf)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("protocol", ["-tls1_2", "-tls1_3"])
def test_openssl_shakes_hands_over_a_socket(folder: Path, tmp_path: Path, protocol: str) -> None:
    openssl = program("openssl")
    authority = Authority(folder)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = subprocess.Popen(
            [
                *(openssl, "s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}"),
                *(protocol, "-verify_return_error", "-x509_strict", "-CAfile", str(ca)),
                *("-verify_ip", "127.0.0.1", "-no-CApath", "-no-CAstore"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        listener.settimeout(20)
        connection, _ = listener.accept()
        connection.settimeout(20)
        with authority.context(NAMES).wrap_socket(connection, server_side=True):
            said, _ = client.communicate(timeout=20)
    assert b"Verify return code: 0 (ok)" in said
    assert client.returncode == 0


def test_a_strict_client_takes_the_certificate_that_a_server_makes_itself(tmp_path: Path) -> None:
    (certificate, key), _ = made("mx.example.org", tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    shake(server, client, "mx.example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server, ssl.create_default_context(), "mx.example.org")
