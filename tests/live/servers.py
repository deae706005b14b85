"""Real mail servers on loopback: Postfix, Exim and OpenSMTPD, and a server that follows a script.

Each is a context manager that gives a `Server` and leaves nothing behind: its configuration,
queue and keys are in a temporary directory, it listens on 127.0.0.1 and ::1 only, it looks
nothing up, and all mail that it accepts for example.org is swallowed.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from debian import Jail
from processes import PATIENCE, free_port, listens, program, run, running

DOMAIN = "example.org"
HOSTNAME = "mx.example.org"
PASSWORDS = {"ann": "open-sesame", "bob": "tiny-lock"}
"""The made-up users that may log in."""

RECIPIENTS = ("ann@example.org", "bob@example.org", "eve@example.org")


@dataclass(frozen=True)
class Server:
    """Where a server listens: `port` begins in the clear, `tls_port` with TLS."""

    port: int
    tls_port: int | None = None
    directory: Path = field(default_factory=Path)


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary directory that a server's unprivileged children may walk through."""
    with tempfile.TemporaryDirectory(prefix="smtpscope-live-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate for mx.example.org and localhost, and its key, made by openssl."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    argv = [program("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={HOSTNAME}"]
    argv += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    argv += ["-addext", f"subjectAltName=DNS:{HOSTNAME},DNS:localhost"]
    run([*argv, "-keyout", key, "-out", certificate])
    return certificate, key


POSTFIX_SETTINGS = {
    "compatibility_level": "3.6",
    "myhostname": HOSTNAME,
    "mail_owner": "postfix",
    "setgid_group": "postdrop",
    "inet_interfaces": "127.0.0.1, [::1]",
    "inet_protocols": "all",
    "smtp_address_preference": "ipv4",
    "disable_dns_lookups": "yes",
    "smtp_host_lookup": "native",
    "smtpd_peername_lookup": "no",
    "maillog_file_prefixes": "/",
    "mydestination": "",
    "alias_maps": "",
    "local_recipient_maps": "",
    "relay_domains": DOMAIN,
    "relay_transport": "discard:swallowed",
    "relay_recipient_maps": "inline:{" + ", ".join(f"{{{who}=ok}}" for who in RECIPIENTS) + "}",
    "default_transport": "error:nothing leaves this machine",
    "smtpd_relay_restrictions": "reject_unauth_destination",
    "mynetworks": "127.0.0.0/8 [::1]/128",
    "bounce_notice_recipient": "ann@example.org",
    "notify_classes": "",
}

POSTFIX_QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("maildrop", "private", "public", "saved", "trace"),
)

POSTFIX_SERVICES = """\
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
lmtp      unix  - - n - - lmtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


@contextmanager
def postfix(
    *,
    port: int | None = None,
    tls_port: int | None = None,
    tls: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Postfix with example.org as its relay domain, discarded. `settings` go into main.cf.

    With `tls` it has a certificate: STARTTLS on `port`, and TLS from the start on `tls_port`.
    """
    # `postfix start-fg` would check for seconds, and put a shell between us and the master.
    daemons = run([program("postconf"), "-dh", "daemon_directory"]).stdout.decode().strip()
    port = port or free_port()
    tls_port = (tls_port or free_port()) if tls else None
    with workspace() as directory:
        configuration = directory / "etc"
        for name in ("etc", "data", "queue", "queue/pid"):
            (directory / name).mkdir(mode=0o755)
        for name in POSTFIX_QUEUES:
            (directory / "queue" / name).mkdir(mode=0o700)
        for name in ("data", *(f"queue/{queue}" for queue in POSTFIX_QUEUES)):
            shutil.chown(directory / name, "postfix")
        main = {
            **POSTFIX_SETTINGS,
            "queue_directory": str(directory / "queue"),
            "data_directory": str(directory / "data"),
            "maillog_file": str(directory / "mail.log"),
        }
        services = _postfix_listeners(port, "") + POSTFIX_SERVICES
        if tls_port is not None:
            certificate, key = self_signed(directory)
            main["smtpd_tls_chain_files"] = f"{key}, {certificate}"
            main["smtpd_tls_security_level"] = "may"
            services += _postfix_listeners(tls_port, " -o smtpd_tls_wrappermode=yes")
        main.update(settings or {})
        (configuration / "main.cf").write_text("".join(f"{k} = {v}\n" for k, v in main.items()))
        (configuration / "master.cf").write_text(services)
        for name in ("main.cf", "master.cf"):
            # Postfix waits out a file that is seconds old, in case it is still being written.
            os.utime(configuration / name, (0, 0))
        wanted = [number for number in (port, tls_port) if number is not None]
        with running(
            [Path(daemons) / "master", "-s", "-c", configuration],
            log=directory / "start.log",
            ready=lambda: listens(*wanted),
        ):
            yield Server(port, tls_port, directory)


def _postfix_listeners(port: int, options: str) -> str:
    return "".join(
        f"{address}:{port} inet n - n - - smtpd{options}\n" for address in ("127.0.0.1", "[::1]")
    )


EXIM_CONFIGURATION = """\
primary_hostname = {hostname}
local_interfaces = <; 127.0.0.1 ; ::1
daemon_smtp_ports = {ports}
{tls}
exim_user = Debian-exim
exim_group = Debian-exim
never_users =
domainlist ours = example.org
acl_smtp_connect = acl_connect
acl_smtp_rcpt = acl_rcpt
acl_smtp_vrfy = accept
acl_smtp_expn = accept
acl_smtp_data = accept
acl_smtp_data_prdr = acl_prdr
notifier_socket =
host_lookup =
rfc1413_hosts =
dns_again_means_nonexist = *
message_size_limit = 1M
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
pipelining_connect_advertise_hosts =
remote_max_parallel = 1
queue_run_in_order = true
auth_advertise_hosts = *
{main}

begin acl
acl_connect:
{acl_connect}
  accept
acl_rcpt:
{acl_rcpt}
  accept domains = +ours
         verify = recipient
  accept authenticated = *
  deny message = relay not permitted
acl_prdr:
  deny local_parts = eve
       message = Mailbox full
  accept

begin routers
{routers}
aliases:
  driver = redirect
  domains = +ours
  data = ${{lookup{{$local_part}}lsearch{{/etc/aliases}}}}
  allow_fail
swallow:
  driver = accept
  domains = +ours
  local_parts = ann : bob : eve
  transport = swallowed

begin transports
swallowed:
  driver = appendfile
  file = /dev/null
  user = Debian-exim
onwards:
  driver = smtp
  allow_localhost
  port = {onwards}
  hosts_try_prdr = *

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if eq{{$auth3}}{{${{lookup{{$auth2}}lsearch{{/etc/passwords}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if eq{{$auth2}}{{${{lookup{{$auth1}}lsearch{{/etc/passwords}}}}}}}}
  server_set_id = $auth1
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${{lookup{{$auth1}}lsearch{{/etc/passwords}}{{$value}}fail}}
  server_set_id = $auth1

begin retry
* * F,2h,15m
"""

EXIM_ONWARDS = """\
onwards:
  driver = manualroute
  domains = +ours
  route_list = * {host} byname
  self = send
  transport = onwards
"""


@contextmanager
def exim(
    *,
    port: int | None = None,
    tls_port: int | None = None,
    tls: bool = False,
    onwards: tuple[str, int] | None = None,
    acl_connect: str = "",
    acl_rcpt: str = "",
    main: str = "",
) -> Iterator[Server]:
    """Exim, from the unpacked Debian package, that knows ann, bob, eve and the alias `friends`.

    The users of PASSWORDS may log in with PLAIN, LOGIN and CRAM-MD5. With `onwards` mail is not
    swallowed but handed at once to the server at that address and port. The `acl_…` are lines
    that go before the others of that ACL, `main` goes to the main section; with `prdr_enable =
    true` there eve's mailbox is full.
    """
    port = port or free_port()
    tls_port = (tls_port or free_port()) if tls else None
    with workspace() as directory:
        jail = Jail(directory / "jail", "exim4-daemon-light")
        jail.add_user("Debian-exim", 4101)
        for name in ("var/spool/exim4", "var/log/exim4"):
            (jail.root / name).mkdir(parents=True)
            os.chown(jail.root / name, 4101, 4101)
        jail.write("etc/aliases", "friends: ann@example.org, bob@example.org\npostmaster: ann\n")
        jail.write("etc/passwords", "".join(f"{who}: {word}\n" for who, word in PASSWORDS.items()))
        ports, tls_lines = str(port), ""
        if tls_port is not None:
            for path in self_signed(directory):
                jail.write(f"etc/{path.name}", path.read_text())
            ports = f"{port} : {tls_port}"
            tls_lines = (
                f"tls_advertise_hosts = *\ntls_on_connect_ports = {tls_port}\n"
                "tls_certificate = /etc/certificate.pem\ntls_privatekey = /etc/key.pem"
            )
        host, onwards_port = onwards or ("", 0)
        jail.write(
            "etc/exim4/exim4.conf",
            EXIM_CONFIGURATION.format(
                hostname=HOSTNAME,
                ports=ports,
                tls=tls_lines or "tls_advertise_hosts =",
                main=main,
                acl_connect=acl_connect,
                acl_rcpt=acl_rcpt,
                routers=EXIM_ONWARDS.format(host=host) if onwards else "",
                onwards=onwards_port,
            ),
        )
        wanted = [number for number in (port, tls_port) if number is not None]
        with running(
            jail.command("/usr/sbin/exim4", "-bdf"),
            log=directory / "start.log",
            ready=lambda: listens(*wanted),
        ):
            yield Server(port, tls_port, jail.root)


@contextmanager
def opensmtpd(*, port: int | None = None) -> Iterator[Server]:
    """OpenSMTPD, from the unpacked Debian package; mail to ann and bob goes to its own maildirs.

    Without TLS: Debian 12's build can't sign with OpenSSL 3 and breaks every handshake off.
    """
    port = port or free_port()
    with workspace() as directory:
        jail = Jail(directory / "jail", "opensmtpd", extra=("/bin/sh",))
        jail.add_user("opensmtpd", 4201, "/var/lib/opensmtpd/empty")
        jail.add_user("opensmtpq", 4202, "/var/lib/opensmtpd/empty")
        (jail.root / "var/lib/opensmtpd/empty").mkdir(parents=True, exist_ok=True)
        (jail.root / "var/spool/smtpd").mkdir(parents=True)
        (jail.root / "var/spool/smtpd").chmod(0o711)
        for number, name in enumerate(("ann", "bob"), 4211):
            jail.add_user(name, number, f"/home/{name}")
            home = jail.root / "home" / name
            home.mkdir(parents=True)
            os.chown(home, number, number)
        jail.write("etc/mailname", f"{HOSTNAME}\n")
        jail.write(
            "etc/smtpd.conf",
            f"listen on 127.0.0.1 port {port}\nlisten on ::1 port {port}\n"
            'action "swallow" maildir "/home/%{user.username}/mail"\n'
            f'match from any for domain "{DOMAIN}" action "swallow"\n',
        )
        with running(
            jail.command("/usr/sbin/smtpd", "-d"),
            log=directory / "start.log",
            ready=lambda: listens(port),
        ):
            yield Server(port, directory=jail.root)


Talk = Callable[[socket.socket], None]


@contextmanager
def scripted(*talks: Talk, port: int | None = None, host: str = "127.0.0.1") -> Iterator[Server]:
    """A server that has one talk with each connection in turn, then closes it."""
    failures: list[BaseException] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port or 0), family=family) as listener:
        listener.settimeout(PATIENCE)

        def serve() -> None:
            try:
                for talk in talks:
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(PATIENCE)
                        talk(connection)
            except (OSError, AssertionError) as failure:
                failures.append(failure)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Server(listener.getsockname()[1])
        thread.join(PATIENCE)
    if failures:
        raise failures[0]
