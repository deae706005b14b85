"""The grammar of SMTP lines, both ways: octets of a line in, the values of `values` out, and back.

A line that breaks the grammar gives what can be made of it and a `Defect` for each oddity; nothing
here raises on wire input, and every pattern runs in linear time. RFC 5321 §4.1 and §4.2, RFC 3461
§4 (xtext), RFC 6531 and RFC 6533 (UTF-8), RFC 3030 (BDAT), RFC 2034 and RFC 3463 (enhanced codes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from smtpscope.smtp.paths import (
    MAX_DOMAIN,
    MAX_LABEL,
    MAX_LOCAL_PART,
    NULL_PATH,
    PathReader,
    domain_trouble,
    is_address_literal,
    is_ipv4,
    is_ipv6,
    keyword_of,
)
from smtpscope.smtp.values import Capability, EnhancedCode, Parameter, Path, PathArgument
from smtpscope.stream import Defect, Span

MAX_DIGITS = 20
"""Digits of a size: SIZE and BDAT count up to 20 of them (RFC 1870 §3, RFC 3030 §2)."""

_SPACES = b" \t"

_VERB = re.compile(rb"([A-Za-z][A-Za-z0-9-]{0,31})(?:[ \t]|\Z)")

_LABEL = rb"[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+"
_NAME = _LABEL + rb"(?:\." + _LABEL + rb")*+"
_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_ADDRESS = rb"((" + _ATOM + rb"(?:\." + _ATOM + rb")*+)@(" + _NAME + rb"))"
_TAIL = rb">((?: [A-Za-z0-9][A-Za-z0-9-]*+(?:=[!-<>-~]++)?+)*+)\Z"
# The two forms that nearly every command has; whatever they refuse goes to PathReader.
_CLEAN_REVERSE = re.compile(rb"(?i:FROM):<(?:" + _ADDRESS + rb")?+" + _TAIL)
_CLEAN_FORWARD = re.compile(rb"(?i:TO):<" + _ADDRESS + _TAIL)

_HELLO = re.compile(_LABEL + rb"(?:\." + _LABEL + rb")*\.[A-Za-z][A-Za-z0-9-]*(?<!-)\Z")
_BDAT = re.compile(rb"([ \t]*+)([0-9]++)(?:([ \t]++)(?i:(LAST)))?+([ \t]*+)")

# What a line must look like to be taken for a command where nothing else shows that it is one.
_SHAPE = re.compile(
    rb"""(?:EHLO|HELO|LHLO)[ ]+[^\s]+[ ]*
    | MAIL[ ]+FROM[ ]?:.* | RCPT[ ]+TO[ ]?:.*
    | (?:DATA|RSET|QUIT|NOOP|STARTTLS|X-ANONYMOUSTLS|TURN|HELP)[ ]*
    | BDAT[ ]+[0-9]+(?:[ ]+LAST)?[ ]*
    | (?:AUTH|X-EXPS)[ ]+[A-Z0-9_-]+(?:[ ]+[A-Z0-9+/=]*)?
    | (?:VRFY|EXPN|ETRN|ATRN)[ ]+[^\s]+ | (?:XCLIENT|XFORWARD)[ ]+[A-Z]+=.*""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)

_ENHANCED = re.compile(rb"([245])\.([0-9]{1,3})\.([0-9]{1,3})\Z")

_XTEXT = re.compile(rb"(?:[!-*,-<>-~]++|\+[0-9A-F]{2})*+\Z")
_XTEXT_ESCAPE = re.compile(rb"\+([0-9A-Fa-f]{2})")
_NOT_XTEXT = re.compile(rb"[^!-*,-<>-~]")
_UNICODE_ESCAPE = re.compile(rb"\\x\{([0-9A-Fa-f]{1,6})\}")


def split_command(line: bytes) -> tuple[str, bytes]:
    """The upper-case verb and what follows it and one space; `line` has lost its ending.

    The verb is empty, and the argument the whole line, where the first word can't be a verb.
    """
    word, _, argument = line.partition(b" ")
    if word.isalpha() and len(word) <= 32:
        return word.upper().decode("ascii"), argument
    match = _VERB.match(line)
    if match is None:
        return "", line
    return match[1].upper().decode("ascii"), line[match.end() :]


def looks_like_command(line: bytes) -> bool:
    """Whether `line`, without its ending, is a command wherever it stands, in a letter even."""
    return _SHAPE.fullmatch(line) is not None


def format_command(verb: str, argument: bytes = b"") -> bytes:
    """The command line with CRLF. A CR or LF in it, which would forge a line, becomes a space."""
    line = verb.encode("ascii")
    return _one_line(line + b" " + argument if argument else line) + b"\r\n"


def parse_path_argument(verb: str, argument: bytes, span: Span) -> PathArgument:
    """Take the argument of MAIL (SEND, SOML, SAML) or RCPT apart; `span` covers its octets.

    Defects: path-syntax, path-without-brackets, path-without-domain, path-too-long,
    space-after-colon, source-route, local-part-too-long, domain-too-long, domain-syntax,
    address-literal-syntax, eight-bit-address, parameter-syntax, parameter-twice, odd-space
    (RFC 5321 §4.1.2). Whether a server knows a parameter is not judged here.
    """
    match = (_CLEAN_FORWARD if verb == "RCPT" else _CLEAN_REVERSE).match(argument)
    if match is None:
        return PathReader(verb, argument, span).read()
    address, local, domain, tail = match.groups()
    if address is None:
        path = NULL_PATH
    elif len(local) > MAX_LOCAL_PART or len(domain) > MAX_LABEL:
        return PathReader(verb, argument, span).read()
    else:
        path = Path(address, local, domain)
    if not tail:
        return PathArgument(path, (), ())
    parameters = []
    for word in tail[1:].split(b" "):
        keyword, equals, value = word.partition(b"=")
        parameters.append(Parameter(keyword.upper().decode("ascii"), value if equals else None))
    if len(parameters) > 1 and len({keyword for keyword, _ in parameters}) < len(parameters):
        return PathReader(verb, argument, span).read()
    return PathArgument(path, tuple(parameters), ())


def parse_hello(argument: bytes, span: Span) -> tuple[bytes, tuple[Defect, ...]]:
    """The domain or address literal of HELO, EHLO or LHLO; `span` covers the argument's octets.

    Defects: hello-empty, hello-bare-ip, hello-underscore, hello-syntax, odd-space (RFC 5321
    §4.1.1.1, §4.1.3). 8-bit octets are hello-syntax: SMTPUTF8 is not agreed upon yet (RFC 6531
    §3.7.1).
    """
    if _HELLO.match(argument) and len(argument) <= MAX_LABEL:
        return argument, ()
    domain = argument.strip(_SPACES)
    if not domain:
        return b"", (Defect("hello-empty", span),)
    defects = []
    start = argument.index(domain)
    if len(domain) != len(argument):
        defects.append(Defect("odd-space", span))
    word, space, _ = domain.replace(b"\t", b" ").partition(b" ")
    if space:
        junk = span.part(start + len(word), start + len(domain))
        defects.append(Defect("hello-syntax", junk, "more than one word"))
        domain = word
    trouble = _hello_trouble(domain)
    if trouble is not None:
        rule, detail = trouble
        defects.append(Defect(rule, span.part(start, start + len(domain)), detail))
    return domain, tuple(defects)


def parse_bdat(argument: bytes, span: Span) -> tuple[int | None, bool, tuple[Defect, ...]]:
    """The chunk size in octets and whether LAST is there (RFC 3030 §2).

    The size is None, with bdat-syntax, where it is no number of 1 to 20 digits. Junk behind a
    good size is bdat-syntax too, but the size stands: that many octets are about to follow.
    """
    match = _BDAT.match(argument)
    if match is None or len(match[2]) > MAX_DIGITS or argument[match.end(2) :][:1].strip(_SPACES):
        return None, False, (Defect("bdat-syntax", span, "no chunk size"),)
    before, size, gap, last, after = match.groups()
    if match.end() != len(argument):
        junk = span.part(match.end(2), len(argument))
        return int(size), False, (Defect("bdat-syntax", junk, "only LAST may follow the size"),)
    odd = before or after or gap not in (None, b" ")
    return int(size), last is not None, (Defect("odd-space", span),) if odd else ()


def parse_size(value: bytes | None) -> int | None:
    """The octets that a SIZE parameter or capability names; None if it is no 1 to 20 digits."""
    if value is None or not value.isdigit() or len(value) > MAX_DIGITS:
        return None
    return int(value)


def parse_capability(line: bytes) -> Capability:
    """One text line of an EHLO reply behind the first (RFC 5321 §4.1.1.1).

    The form AUTH=LOGIN, which predates RFC 4954 and is still sent, counts as AUTH LOGIN.
    """
    if line[:5].upper() == b"AUTH=":
        line = b"AUTH " + line[5:]
    keyword, *parameters = line.split() or [b""]
    return Capability(keyword_of(keyword), tuple(parameters))


def greeting_domain(text: bytes) -> bytes:
    """The first word of a 220 greeting or of an EHLO reply's first line: the server's name."""
    words = text.split(None, 1)
    return words[0] if words else b""


def parse_reply_line(line: bytes) -> tuple[int | None, bytes, bytes]:
    """Code, separator and text of one reply line without its ending (RFC 5321 §4.2).

    The separator is a space, a hyphen, or empty where neither follows the code. A line that does
    not begin with three digits, or begins with more than three, is text without a code.
    """
    digits = line[:3]
    if len(digits) == 3 and digits.isdigit():
        separator = line[3:4]
        if separator == b" " or separator == b"-":
            return int(digits), separator, line[4:]
        if not separator.isdigit():
            return int(digits), b"", line[3:]
    return None, b"", line


def parse_enhanced(text: bytes) -> EnhancedCode | None:
    """The enhanced status code that a reply's text begins with (RFC 2034 §4), or None."""
    if text[1:2] != b".":
        return None
    # No code has more than 9 octets: a tenth one that is no space shows that this is none.
    return _enhanced_code(text[:10].partition(b" ")[0])


def format_reply(code: int, lines: Iterable[bytes], enhanced: EnhancedCode | None = None) -> bytes:
    """A reply with all its lines and CRLFs; `enhanced` begins each line's text (RFC 2034 §4).

    A CR or LF in a line, which would forge another one, becomes a space.
    """
    prefix = b"%s " % str(enhanced).encode("ascii") if enhanced else b""
    texts = [prefix + _one_line(line) for line in lines] or [prefix]
    *inner, last = texts
    return b"".join([b"%03d-%s\r\n" % (code, text) for text in inner]) + b"%03d %s\r\n" % (
        code,
        last,
    )


def decode_xtext(value: bytes) -> tuple[bytes, bool]:
    """The octets behind xtext, and whether `value` is well-formed (RFC 3461 §4).

    What is malformed stays as it came, but lower-case hexadecimal is decoded.
    """
    if b"+" not in value:
        return value, _XTEXT.match(value) is not None
    decoded = _XTEXT_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), value)
    return decoded, _XTEXT.match(value) is not None


def encode_xtext(value: bytes) -> bytes:
    """`value` as xtext (RFC 3461 §4)."""
    return _NOT_XTEXT.sub(lambda match: b"+%02X" % match[0][0], value)


def decode_orcpt(value: bytes) -> tuple[str, bytes]:
    """The lower-case address type and the decoded address of an ORCPT value (RFC 3461 §4.2).

    The type is empty where there is none. Under the type utf-8 also the \\x{…} escapes of RFC 6533
    §3 are decoded.
    """
    kind, semicolon, encoded = value.partition(b";")
    if not semicolon:
        return "", decode_xtext(value)[0]
    name = kind.lower().decode("ascii", "backslashreplace")
    address = decode_xtext(encoded)[0]
    if name == "utf-8":
        address = _UNICODE_ESCAPE.sub(_utf8_of_escape, address)
    return name, address


@lru_cache(maxsize=512)
def _enhanced_code(word: bytes) -> EnhancedCode | None:
    match = _ENHANCED.match(word)
    return EnhancedCode(int(match[1]), int(match[2]), int(match[3])) if match else None


def _hello_trouble(domain: bytes) -> tuple[str, str] | None:
    if domain[:1] == b"[":
        return None if is_address_literal(domain) else ("hello-syntax", "malformed literal")
    if is_ipv4(domain) or is_ipv6(domain):
        return "hello-bare-ip", ""
    if len(domain) > MAX_DOMAIN:
        return "hello-syntax", f"{len(domain)} octets"
    if not domain.isascii():
        return "hello-syntax", "8-bit octets"
    trouble = domain_trouble(domain)
    if trouble and not domain_trouble(domain.replace(b"_", b"x")):
        return "hello-underscore", ""
    if trouble:
        return "hello-syntax", trouble
    return None


def _utf8_of_escape(match: re.Match[bytes]) -> bytes:
    point = int(match[1], 16)
    if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
        return match[0]
    return chr(point).encode("utf-8")


def _one_line(text: bytes) -> bytes:
    return text.replace(b"\r", b" ").replace(b"\n", b" ")
