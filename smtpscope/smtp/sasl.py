"""One AUTH exchange: who authenticates, how, and which octets are secret.

Client lines and server challenges go in as they crossed the wire; the identity, the secret, defects
and a redacted text for each client line come out. What a mechanism's form does not explain counts
as secret. RFC 4954; PLAIN RFC 4616, CRAM-MD5 RFC 2195, DIGEST-MD5 RFC 2831, SCRAM RFC 5802 and
RFC 7677, OAUTHBEARER RFC 7628, EXTERNAL RFC 4422 App. A, ANONYMOUS RFC 4505.
"""

from __future__ import annotations

import binascii
import re
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from smtpscope.stream import Defect, Direction, Span

MAX_LINE = 12_288
"""Octets of a line of an AUTH exchange with its CRLF (RFC 4954 §4)."""
MAX_SECRET = 1 << 16
"""Octets of secrets that one exchange keeps; what is beyond is counted only."""
MAX_HIDDEN = 16
"""Words that one exchange remembers to be hidden wherever they are quoted; the newest stay."""

_NEVER = 1 << 30

_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}\Z")
_CRAM = re.compile(rb"(.*) ([0-9A-Fa-f]{32,128})\Z", re.DOTALL)
_SCRAM_FIRST = re.compile(
    rb"(?:[ny]|p=[A-Za-z0-9.-]++),(?:a=([^,]*+))?,(?:m=[^,]*+,)?n=([^,]*+),r=[!-+\--~]++(?:,.*)?\Z"
)
_SCRAM_FINAL = re.compile(rb"c=[A-Za-z0-9+/=]*+,r=[!-+\--~]++(?:,.*)?,p=([A-Za-z0-9+/=]++)\Z")
_SCRAM_VERIFIER = re.compile(rb"(?:^|(?<=,))v=[A-Za-z0-9+/=]++")
_DIGEST_PAIR = re.compile(
    rb'(?:\A|,)[ \t]*+([A-Za-z-]++)=(?:"((?:[^"\\]++|\\.)*+)"|([^",]*+))', re.DOTALL
)
_DIGEST_VERIFIER = re.compile(rb"(?i:rspauth)=\"?[^\",]*+\"?")
_SASLNAME_ESCAPE = re.compile(rb"=(2C|3D)")
_UNQUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_NTLM_SIGNATURE = b"NTLMSSP\0"
_NTLM_UNICODE = 1


class Reading(NamedTuple):
    """What one decoded client line says. `secret` is empty where nothing of it must be hidden."""

    identity: bytes | None
    authzid: bytes | None
    secret: bytes


class Hidden(NamedTuple):
    """Octets that nobody may quote. `coded`: base64, of which a part gives away too much too."""

    octets: bytes
    coded: bool


class _Form(NamedTuple):
    """How a mechanism speaks.

    `read` gives None for a line that is not in the mechanism's form. From client line number
    `empty_from` on (0 is the first) a line may be empty. `shown` turns a decoded challenge into
    what may be seen of it.
    """

    read: Callable[[bytes], Reading | None]
    empty_from: int
    client_first: bool
    shown: Callable[[bytes], bytes]


class AuthExchange:
    """Follows one exchange from AUTH to its final reply.

    `mechanism` is upper-case, and empty where the word can't name one. `identity` is the user name
    (authentication identity) and `authzid` the identity to act as, once seen. `secret` holds the
    decoded secret octets, at most MAX_SECRET, and `secret_length` their full number; of a mechanism
    without a known form these are all responses. `redacted` has one text for each client line, an
    initial response included: free of secrets, but as hostile as any text from the wire. `hidden`
    has the secrets both as on the wire and decoded: nobody may quote them. `code` is the final
    reply's. Defects: auth-base64, auth-line-too-long, auth-empty-response,
    auth-initial-response, auth-response-syntax.
    """

    def __init__(self, mechanism: str, initial: bytes | None, span: Span | None = None) -> None:
        """`initial` is the initial response as on the wire ("=" is an empty one); `span` covers it.

        Here and below, octets without a span are taken to begin at offset 0 of the stream.
        """
        name = mechanism.upper()
        self.mechanism = name if _MECHANISM.match(name) else ""
        self.identity: bytes | None = None
        self.authzid: bytes | None = None
        self.secret = b""
        self.secret_length = 0
        self.cancelled = False
        self.code: int | None = None
        self.redacted: list[str] = []
        self.hidden: deque[Hidden] = deque(maxlen=MAX_HIDDEN)
        self.defects: list[Defect] = []
        self._form = _form_of(self.mechanism)
        self._prompt = b""
        if initial is not None:
            where = span or Span(Direction.CLIENT, 0, len(initial))
            if self._form is not None and not self._form.client_first:
                self._note("auth-initial-response", where, "the server begins in this mechanism")
            self._take(b"" if initial == b"=" else initial, where)

    @classmethod
    def from_argument(cls, argument: bytes, span: Span) -> AuthExchange:
        """The exchange that `AUTH argument` begins; `span` covers the argument.

        Where the first word can't name a mechanism, the whole argument is taken for a response:
        it may be a secret in the wrong place.
        """
        word, _, rest = argument.strip(b" \t").partition(b" ")
        mechanism = word.decode("latin-1").upper()
        if not _MECHANISM.match(mechanism):
            return cls("", argument or None, span)
        initial = rest.lstrip(b" \t")
        start = argument.find(initial, argument.index(word) + len(word))
        return cls(mechanism, initial or None, span.part(start, start + len(initial)))

    def redacted_argument(self) -> str:
        """The argument of AUTH, its initial response redacted; to be asked before `response`."""
        return " ".join(text for text in (self.mechanism, *self.redacted[:1]) if text)

    def challenge(self, text: bytes, span: Span | None = None) -> None:
        """The server has sent `334 text`; `span` covers the text."""
        decoded = decode(text)
        if decoded is None and text.lower() != _AGREED.get(self.mechanism):
            where = span or Span(Direction.SERVER, 0, len(text))
            self._note("auth-base64", where, "the challenge")
        self._prompt = text if decoded is None else decoded

    def response(self, line: bytes, span: Span | None = None) -> None:
        """The client has sent this line, here without its ending; `span` covers it."""
        if line == b"*":
            self.cancelled = True
            self.redacted.append("*")
            return
        self._take(line, span or Span(Direction.CLIENT, 0, len(line)))

    def finish(self, code: int | None) -> None:
        """The server has ended the exchange with this reply code."""
        self.code = code

    def _take(self, line: bytes, span: Span) -> None:
        number = len(self.redacted)
        if len(line) + 2 > MAX_LINE:
            self._note("auth-line-too-long", span, f"{len(line) + 2} octets")
        decoded = decode(line)
        if decoded is None:
            self._note("auth-base64", span)
            reading = Reading(None, None, line)
        elif not decoded:
            if self._form is not None and number < self._form.empty_from:
                self._note("auth-empty-response", span)
            reading = Reading(None, None, b"")
        else:
            reading = self._read(decoded, number, span)
        if self.identity is None:
            self.identity = reading.identity
        if self.authzid is None:
            self.authzid = reading.authzid
        self.secret += reading.secret[: MAX_SECRET - len(self.secret)]
        self.secret_length += len(reading.secret)
        if decoded is None:
            self.hidden += [Hidden(word, False) for word in line.split()[:MAX_HIDDEN]]
        elif reading.secret:
            self.hidden += (Hidden(line, True), Hidden(reading.secret, False))
        self.redacted.append(_redacted_text(reading, line if decoded is None else decoded))

    def _read(self, decoded: bytes, number: int, span: Span) -> Reading:
        if self._form is None:
            return _read_opaque(decoded)
        # Only the first line is a name, and not if the server asks for the password with it.
        if self._form.read is _read_name and (number or b"pass" in self._prompt.lower()):
            return _read_opaque(decoded)
        reading = self._form.read(decoded)
        if reading is None:
            self._note("auth-response-syntax", span)
            return _read_opaque(decoded)
        return reading

    def _note(self, rule: str, span: Span, detail: str = "") -> None:
        self.defects.append(Defect(rule, span, detail))


def describe_challenge(mechanism: str, text: bytes) -> bytes:
    """What may be shown of the text of a 334: decoded where its form is known to hold no secret.

    The proofs by which a server shows that it knows the password (SCRAM's v=, DIGEST-MD5's
    rspauth=) are redacted: together with what else is on the wire they can be guessed offline.
    Text that is no base64 comes back as it is, a challenge of unknown form as its length.
    """
    form = _form_of(mechanism.upper())
    decoded = decode(text)
    if decoded is None and form is not None:
        return text
    if not decoded:
        return _hidden(text) if text else b""
    return _hidden(decoded) if form is None else form.shown(decoded)


def has_credentials(line: bytes) -> bool:
    """Whether `line`, as on the wire, is a whole message of PLAIN: name and password."""
    decoded = decode(line)
    return decoded is not None and _read_plain(decoded) is not None


def is_likely_response(line: bytes) -> bool:
    """Whether `line`, as on the wire, is one word of base64 that says something legible.

    Few words in one case are base64 of anything that people type.
    """
    decoded = decode(line)
    if not decoded or (line.isalpha() and (line.isupper() or line.islower())):
        return False
    try:
        return decoded.decode().isprintable()
    except UnicodeDecodeError:
        return False


def decode(line: bytes) -> bytes | None:
    """The octets that a line of base64 stands for; None where it is none."""
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        return None


def _hidden(octets: bytes) -> bytes:
    return b"[redacted %d octets]" % len(octets)


def _redacted_text(reading: Reading, octets: bytes) -> str:
    parts = []
    if reading.identity:
        parts.append(b"identity " + reading.identity)
    if reading.authzid and reading.authzid != reading.identity:
        parts.append(b"acting as " + reading.authzid)
    if reading.secret:
        parts.append(_hidden(reading.secret))
    elif octets and not parts:
        parts.append(_hidden(octets))
    return b", ".join(parts).decode("utf-8", "backslashreplace")


# -- the forms of client lines ---------------------------------------------------------------


def _read_opaque(response: bytes) -> Reading:
    return Reading(None, None, response)


def _read_name(response: bytes) -> Reading | None:
    # A NUL separates fields: this is PLAIN's message, password and all, in the wrong mechanism.
    return None if b"\0" in response else Reading(response, None, b"")


def _read_plain(response: bytes) -> Reading | None:
    authzid, _, rest = response.partition(b"\0")
    authcid, nul, password = rest.partition(b"\0")
    # Without a password the fields are likely shifted, and the password stands where a name should.
    if not nul or not authcid or not password or b"\0" in password:
        return None
    return Reading(authcid, authzid or None, password)


def _read_cram(response: bytes) -> Reading | None:
    match = _CRAM.match(response)
    return Reading(match[1], None, match[2]) if match else None


def _read_digest(response: bytes) -> Reading | None:
    pairs = {
        match[1].lower(): match[3] if match[2] is None else _UNQUOTED_PAIR.sub(rb"\1", match[2])
        for match in _DIGEST_PAIR.finditer(response)
    }
    name, proof = pairs.get(b"username"), pairs.get(b"response")
    if name is None or not proof:
        return None
    return Reading(name, pairs.get(b"authzid"), proof)


def _read_scram(response: bytes) -> Reading | None:
    first = _SCRAM_FIRST.match(response)
    if first is not None:
        return Reading(_saslname(first[2]), _saslname(first[1]), b"")
    final = _SCRAM_FINAL.match(response)
    return Reading(None, None, final[1]) if final else None


def _read_xoauth2(response: bytes) -> Reading | None:
    pairs = _oauth_pairs(response)
    name, credentials = pairs.get(b"user"), pairs.get(b"auth")
    return Reading(name, None, credentials) if name and credentials else None


def _read_oauthbearer(response: bytes) -> Reading | None:
    # The lone separator acknowledges a failure (RFC 7628 §3.2.3).
    if response == b"\x01":
        return Reading(None, None, b"")
    header, separator, rest = response.partition(b"\x01")
    credentials = _oauth_pairs(rest).get(b"auth")
    fields = header.split(b",")
    if not separator or not credentials or len(fields) != 3 or fields[0] not in (b"n", b"y"):
        return None
    name = _saslname(fields[1][2:]) if fields[1].startswith(b"a=") else None
    return Reading(name, None, credentials)


def _read_ntlm(response: bytes) -> Reading | None:
    """[MS-NLMP] §2.2.1: of the three messages the client's second (type 3) names the user."""
    if response[:8] != _NTLM_SIGNATURE or len(response) < 12:
        return None
    kind = int.from_bytes(response[8:12], "little")
    if kind == 1:
        return Reading(None, None, b"")
    if kind != 3 or len(response) < 52:
        return None
    proofs = _ntlm_field(response, 12) + _ntlm_field(response, 20)
    names = [name for name in (_ntlm_field(response, 28), _ntlm_field(response, 36)) if name]
    if response[60:61] and response[60] & _NTLM_UNICODE:
        names = [name.decode("utf-16-le", "replace").encode() for name in names]
    return Reading(b"\\".join(names) or None, None, proofs or response)


def _ntlm_field(message: bytes, at: int) -> bytes:
    length = int.from_bytes(message[at : at + 2], "little")
    offset = int.from_bytes(message[at + 4 : at + 8], "little")
    return message[offset : offset + length]


def _oauth_pairs(text: bytes) -> dict[bytes, bytes]:
    pairs = (pair.partition(b"=") for pair in text.split(b"\x01"))
    return {key.lower(): value for key, _, value in pairs}


def _saslname(name: bytes | None) -> bytes | None:
    if name is None:
        return None
    return _SASLNAME_ESCAPE.sub(lambda match: b"," if match[1] == b"2C" else b"=", name)


# -- the forms of challenges -----------------------------------------------------------------


def _show(challenge: bytes) -> bytes:
    return challenge


def _show_scram(challenge: bytes) -> bytes:
    return _SCRAM_VERIFIER.sub(lambda match: b"v=" + _hidden(match[0][2:]), challenge)


def _show_digest(challenge: bytes) -> bytes:
    return _DIGEST_VERIFIER.sub(
        lambda match: b"rspauth=" + _hidden(match[0][8:].strip(b'"')), challenge
    )


_FORMS = {
    "PLAIN": _Form(_read_plain, _NEVER, True, _show),
    "LOGIN": _Form(_read_name, _NEVER, True, _show),
    "CRAM-MD5": _Form(_read_cram, _NEVER, False, _show),
    "CRAM-SHA1": _Form(_read_cram, _NEVER, False, _show),
    "DIGEST-MD5": _Form(_read_digest, 1, True, _show_digest),
    "XOAUTH2": _Form(_read_xoauth2, 1, True, _show),
    "OAUTHBEARER": _Form(_read_oauthbearer, 1, True, _show),
    "EXTERNAL": _Form(_read_name, 0, True, _show),
    "ANONYMOUS": _Form(_read_name, 0, True, _show),
    "NTLM": _Form(_read_ntlm, 1, True, _hidden),
}
_SCRAM = _Form(_read_scram, 2, True, _show_scram)


_AGREED = {"NTLM": b"ntlm supported", "GSSAPI": b"gssapi supported"}
"""What Exchange says instead of an empty challenge, in lower case ([MS-SMTPNTLM] §2.2.1.2)."""


def _form_of(mechanism: str) -> _Form | None:
    return _SCRAM if mechanism.startswith("SCRAM-") else _FORMS.get(mechanism)
