"""The careful reading of a MAIL or RCPT argument: paths, domains, address literals, parameters.

An argument goes in that the plain pattern of `grammar` refused; what can be made of it comes out,
with a `Defect` for each oddity. RFC 5321 §4.1.2 and §4.1.3, RFC 6531 §3.3.
"""

from __future__ import annotations

import ipaddress
import re

from smtpscope.smtp.values import Parameter, Path, PathArgument
from smtpscope.stream import Defect, Span

MAX_LOCAL_PART = 64
"""Octets of a local part (RFC 5321 §4.5.3.1.1)."""
MAX_DOMAIN = 255
"""Octets of a domain (RFC 5321 §4.5.3.1.2)."""
MAX_PATH = 256
"""Octets of a path, punctuation included (RFC 5321 §4.5.3.1.3)."""
MAX_LABEL = 63
"""Octets of one label of a domain (RFC 1035 §2.3.4)."""
MAX_PARAMETERS = 64
"""Parameters read from one command; what follows them is told as one defect."""

NULL_PATH = Path(b"", b"", b"")

_OPEN, _CLOSE = b"<>"

_REVERSE_KEYWORD = re.compile(rb"([ \t]*+)(?i:FROM)([ \t]*+):([ \t]*+)")
_FORWARD_KEYWORD = re.compile(rb"([ \t]*+)(?i:TO)([ \t]*+):([ \t]*+)")
_ANY_KEYWORD = re.compile(rb"[ \t]*+[A-Za-z]*+[ \t]*+:[ \t]*+")

_QUOTED = rb'"(?:[^"\\]++|\\.)*+"'
_BRACKETED = re.compile(rb'<(?:[^">]++|' + _QUOTED + rb")*+>", re.DOTALL)
_BARE = re.compile(rb'(?:[^" \t]++|' + _QUOTED + rb")*+", re.DOTALL)
_QUOTED_OR_AT = re.compile(rb'@|"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_WORD = re.compile(rb"([ \t]*+)([^ \t]++)")

_ATOM_8BIT = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]++"
_LOCAL_PART = re.compile(
    _ATOM_8BIT + rb"(?:\." + _ATOM_8BIT + rb")*+\Z"
    rb'|"(?:[ !#-\[\]-~\x80-\xff]++|\\[ -~])*+"\Z'
)
_LABEL_8BIT = rb"[A-Za-z0-9\x80-\xff]++(?:-++[A-Za-z0-9\x80-\xff]++)*+"
_DOMAIN = re.compile(_LABEL_8BIT + rb"(?:\." + _LABEL_8BIT + rb")*+\Z")
_IPV4 = re.compile(rb"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\Z")
_PARAMETER = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*+(?:=[!-<>-~\x80-\xff]++)?+\Z")


class PathReader:
    """Reads one path argument, whatever it looks like; `span` covers its octets."""

    def __init__(self, verb: str, argument: bytes, span: Span) -> None:
        self.forward = verb == "RCPT"
        self.argument = argument
        self.span = span
        self.defects: list[Defect] = []

    def read(self) -> PathArgument:
        """What could be read, and the defects in the order in which they were met."""
        at = self.pass_keyword()
        if at is None:
            return PathArgument(None, (), tuple(self.defects))
        path, end = self.read_path(at)
        parameters = self.read_parameters(end)
        # RCPT has no SMTPUTF8 parameter: whether its address may be 8-bit was settled by MAIL.
        if not self.forward and not self.argument[at:end].isascii():
            keywords = [parameter.keyword for parameter in parameters]
            if "SMTPUTF8" not in keywords:
                self.note("eight-bit-address", at, end)
        return PathArgument(path, parameters, tuple(self.defects))

    def note(self, rule: str, start: int, end: int, detail: str = "") -> None:
        self.defects.append(Defect(rule, self.span.part(start, end), detail))

    def pass_keyword(self) -> int | None:
        argument = self.argument
        match = (_FORWARD_KEYWORD if self.forward else _REVERSE_KEYWORD).match(argument)
        if match is None:
            wanted = "TO:" if self.forward else "FROM:"
            self.note("path-syntax", 0, len(argument), f"does not begin with {wanted}")
            other = _ANY_KEYWORD.match(argument)
            at = other.end() if other else argument.find(b"<")
            return None if at in (-1, len(argument)) else at
        if match[1]:
            self.note("odd-space", *match.span(1))
        if match[2]:
            self.note("path-syntax", *match.span(2), "space before the colon")
        if match.end() == len(argument):
            self.note("path-syntax", 0, len(argument), "no path")
            return None
        if match[3]:
            self.note("space-after-colon", *match.span(3))
        return match.end()

    def read_path(self, at: int) -> tuple[Path | None, int]:
        argument = self.argument
        if argument[at] == _OPEN:
            start, end, after = self.bracketed_body(at)
        else:
            start, end, after = self.bare_body(at)
        bracketed = start > at
        if end - start + 2 * bracketed > MAX_PATH:
            self.note("path-too-long", at, after)
        if start == end:
            if self.forward and bracketed:
                self.note("path-syntax", at, after, "the null path is no forward-path")
            return NULL_PATH if bracketed else None, after
        try:
            argument[start:end].decode("utf-8")
        except UnicodeDecodeError as error:
            self.note("path-syntax", start + error.start, start + error.end, "not UTF-8")
        route, start = self.read_route(start, end)
        return self.read_address(start, end, route, bracketed), after

    def bracketed_body(self, at: int) -> tuple[int, int, int]:
        argument = self.argument
        match = _BRACKETED.match(argument, at)
        # Where a quote stays open, its string can't hide the bracket.
        after = match.end() if match else argument.find(b">", at) + 1
        if not after:
            end = _end_of_word(argument, at)
            self.note("path-syntax", at, end, "no closing bracket")
            return at + 1, end, end
        end = after - 1
        while after < len(argument) and argument[after] == _CLOSE:
            after += 1
        if after > end + 1:
            self.note("path-syntax", end + 1, after, "no opening bracket")
        return at + 1, end, after

    def bare_body(self, at: int) -> tuple[int, int, int]:
        match = _BARE.match(self.argument, at)
        after = _end_of_word(self.argument, match.end() if match else at)
        end = after
        while end > at and self.argument[end - 1] == _CLOSE:
            end -= 1
        if end < after:
            self.note("path-syntax", end, after, "no opening bracket")
        else:
            self.note("path-without-brackets", at, end)
        return at, end, after

    def read_route(self, start: int, end: int) -> tuple[tuple[bytes, ...], int]:
        argument = self.argument
        if argument[start : start + 1] != b"@":
            return (), start
        colon = argument.find(b":", start, end)
        if colon < 0:
            self.note("path-syntax", start, end, "no local part")
            return (), start
        self.note("source-route", start, colon + 1)
        hops = argument[start:colon].split(b",")
        if any(hop[:1] != b"@" or domain_trouble(hop[1:]) for hop in hops):
            self.note("path-syntax", start, colon + 1, "malformed source route")
        return tuple([hop.removeprefix(b"@") for hop in hops]), colon + 1

    def read_address(self, start: int, end: int, route: tuple[bytes, ...], bracketed: bool) -> Path:
        address = self.argument[start:end]
        split = last_at_outside_quotes(address)
        if split < 0:
            local, domain = address, b""
            postmaster = self.forward and bracketed and address.lower() == b"postmaster"
            if not postmaster or route:
                self.note("path-without-domain", start, end)
        else:
            local, domain = address[:split], address[split + 1 :]
            self.judge_domain(domain, start + split + 1, end)
        end_of_local = start + len(local)
        if len(local) > MAX_LOCAL_PART:
            self.note("local-part-too-long", start, end_of_local, f"{len(local)} octets")
        if local and not _LOCAL_PART.match(local):
            self.note("path-syntax", start, end_of_local, "malformed local part")
        elif not local and (split > 0 or route):
            self.note("path-syntax", start, end, "no local part")
        return Path(address, local, domain, route, bracketed)

    def judge_domain(self, domain: bytes, start: int, end: int) -> None:
        if len(domain) > MAX_DOMAIN:
            self.note("domain-too-long", start, end, f"{len(domain)} octets")
        if domain[:1] == b"[":
            if not is_address_literal(domain):
                self.note("address-literal-syntax", start, end)
            return
        trouble = domain_trouble(domain)
        if trouble:
            self.note("domain-syntax", start, end, trouble)

    def read_parameters(self, at: int) -> tuple[Parameter, ...]:
        argument = self.argument
        parameters: list[Parameter] = []
        keywords: set[str] = set()
        odd_space = False
        while match := _WORD.match(argument, at):
            start, at = match.span(2)
            if len(parameters) == MAX_PARAMETERS:
                detail = f"more than {MAX_PARAMETERS} parameters"
                self.note("parameter-syntax", start, len(argument), detail)
                return tuple(parameters)
            if not match[1]:
                self.note("parameter-syntax", start, at, "no space before it")
            elif match[1] != b" " and not odd_space:
                odd_space = True
                self.note("odd-space", *match.span(1))
            keyword, equals, value = match[2].partition(b"=")
            parameter = Parameter(keyword_of(keyword), value if equals else None)
            if not _PARAMETER.match(match[2]) or not _is_utf8(match[2]):
                self.note("parameter-syntax", start, at)
            if parameter.keyword in keywords:
                self.note("parameter-twice", start, at, parameter.keyword)
            keywords.add(parameter.keyword)
            parameters.append(parameter)
        if at < len(argument) and not odd_space:
            self.note("odd-space", at, len(argument))
        return tuple(parameters)


def keyword_of(word: bytes) -> str:
    """`word` upper-case; octets that no keyword holds appear as \\xNN."""
    return word.upper().decode("ascii", "backslashreplace")


def domain_trouble(domain: bytes) -> str:
    """What is wrong with a domain (RFC 5321 §4.1.2, RFC 6531 §3.3); empty if nothing is."""
    labels = domain.split(b".")
    if len(max(labels, key=len)) > MAX_LABEL:
        return f"a label of more than {MAX_LABEL} octets"
    if _DOMAIN.match(domain):
        return ""
    if not domain:
        return "empty"
    if domain.endswith(b"."):
        return "trailing dot"
    if b"" in labels:
        return "empty label"
    if any(label[:1] == b"-" or label[-1:] == b"-" for label in labels):
        return "hyphen at the edge of a label"
    return "underscore" if b"_" in domain else "an octet that no domain holds"


def is_address_literal(domain: bytes) -> bool:
    """Whether `domain` is a well-formed [192.0.2.1] or [IPv6:…] (RFC 5321 §4.1.3)."""
    if domain[:1] != b"[" or domain[-1:] != b"]":
        return False
    inner = domain[1:-1]
    if inner[:5].lower() == b"ipv6:":
        return is_ipv6(inner[5:])
    return is_ipv4(inner)


def is_ipv4(text: bytes) -> bool:
    """Whether `text` is four octets in decimal with dots."""
    match = _IPV4.match(text)
    return match is not None and all(int(octet) <= 255 for octet in match.groups())


def is_ipv6(text: bytes) -> bool:
    """Whether `text` is an IPv6 address without a zone."""
    # ipaddress takes a zone behind a %, which RFC 5321 §4.1.3 has no place for.
    if b"%" in text or b":" not in text:
        return False
    try:
        ipaddress.IPv6Address(text.decode("ascii", "replace"))
    except ValueError:
        return False
    return True


def _end_of_word(argument: bytes, at: int) -> int:
    match = _WORD.match(argument, at)
    return match.end() if match and not match[1] else at


def last_at_outside_quotes(address: bytes) -> int:
    """Where the domain's @ is in an address without its brackets, -1 where there is none."""
    at = -1
    closed = True
    for match in _QUOTED_OR_AT.finditer(address):
        if match[1] is None:
            at = match.start()
        else:
            closed = bool(match[1])
    # A quote that stays open quotes nothing.
    return at if closed else max(at, address.rfind(b"@"))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
