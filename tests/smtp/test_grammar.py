"""RFC 5321 §4.1 and §4.2, RFC 3461 §4, RFC 3030 §2, RFC 2034 §4, RFC 6531, RFC 6533."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpscope.smtp import grammar
from smtpscope.smtp.paths import MAX_PARAMETERS
from smtpscope.smtp.values import Capability, EnhancedCode, Parameter, Path, PathArgument
from smtpscope.stream import Defect, Direction, Span

BASE = 1000


def span_of(octets: bytes) -> Span:
    return Span(Direction.CLIENT, BASE, BASE + len(octets))


def path_argument(verb: str, argument: bytes) -> PathArgument:
    return grammar.parse_path_argument(verb, argument, span_of(argument))


def told(argument: bytes, defects: tuple[Defect, ...]) -> list[tuple[str, bytes]]:
    """Each defect's rule, and the octets that its span covers."""
    return [(d.rule, argument[d.span.start - BASE : d.span.end - BASE]) for d in defects]


# RFC 5321 §2.4, §4.1.1: commands


@pytest.mark.parametrize(
    ("line", "verb", "argument"),
    [
        (b"MAIL FROM:<a@b.test>", "MAIL", b"FROM:<a@b.test>"),
        (b"quit", "QUIT", b""),
        (b"QUIT ", "QUIT", b""),
        (b"RCPT  TO:<a@b.test>", "RCPT", b" TO:<a@b.test>"),
        (b"EHLO\tmx.test", "EHLO", b"mx.test"),
        (b"X-EXPS GSSAPI", "X-EXPS", b"GSSAPI"),
        (b"XEXCH50 2 2", "XEXCH50", b"2 2"),
        (b"STARTTLSfoo", "STARTTLSFOO", b""),
        (b"MAILFROM:<a@b.test>", "", b"MAILFROM:<a@b.test>"),
        (b"AUTH=LOGIN", "", b"AUTH=LOGIN"),
        (b" NOOP", "", b" NOOP"),
        (b"", "", b""),
        (b"\xc3\xa4hlo x", "", b"\xc3\xa4hlo x"),
        (b"4711 x", "", b"4711 x"),
        (b"A" * 32 + b" x", "A" * 32, b"x"),
        (b"A" * 33 + b" x", "", b"A" * 33 + b" x"),
    ],
)
def test_a_verb_ends_at_a_space_or_the_line_and_nowhere_else(
    line: bytes, verb: str, argument: bytes
) -> None:
    assert grammar.split_command(line) == (verb, argument)


@given(st.binary())
def test_a_command_survives_being_written_and_read_again(line: bytes) -> None:
    line = line.replace(b"\r", b"").replace(b"\n", b"")
    verb, argument = grammar.split_command(line)
    written = grammar.format_command(verb, argument)
    assert written.endswith(b"\r\n")
    if verb:
        assert grammar.split_command(written[:-2]) == (verb, argument)


def test_a_written_command_is_one_line_whatever_its_argument_holds() -> None:
    assert grammar.format_command("NOOP", b"a\r\nQUIT") == b"NOOP a  QUIT\r\n"


# RFC 5321 §4.1.2: paths and parameters


@pytest.mark.parametrize(
    ("verb", "argument", "path", "parameters"),
    [
        ("MAIL", b"FROM:<>", Path(b"", b"", b""), ()),
        ("RCPT", b"to:<a.b@c.test>", Path(b"a.b@c.test", b"a.b", b"c.test"), ()),
        (
            "MAIL",
            b"From:<ann@x-y.test> size=2048 BODY=8BITMIME SMTPUTF8",
            Path(b"ann@x-y.test", b"ann", b"x-y.test"),
            (
                Parameter("SIZE", b"2048"),
                Parameter("BODY", b"8BITMIME"),
                Parameter("SMTPUTF8", None),
            ),
        ),
        ("RCPT", b"TO:<Postmaster>", Path(b"Postmaster", b"Postmaster", b""), ()),
        ("RCPT", b"TO:<postMASTER>", Path(b"postMASTER", b"postMASTER", b""), ()),
        (
            "RCPT",
            b'TO:<"a b@> \\"c"@d.test> NOTIFY=NEVER',
            Path(b'"a b@> \\"c"@d.test', b'"a b@> \\"c"', b"d.test"),
            (Parameter("NOTIFY", b"NEVER"),),
        ),
        ("RCPT", b"TO:<a@[192.0.2.1]>", Path(b"a@[192.0.2.1]", b"a", b"[192.0.2.1]"), ()),
        (
            "RCPT",
            b"TO:<a@[IPv6:2001:db8::1]>",
            Path(b"a@[IPv6:2001:db8::1]", b"a", b"[IPv6:2001:db8::1]"),
            (),
        ),
        (
            "MAIL",
            "FROM:<jürgen@bücher.test> SMTPUTF8".encode(),
            Path("jürgen@bücher.test".encode(), "jürgen".encode(), "bücher.test".encode()),
            (Parameter("SMTPUTF8", None),),
        ),
        ("RCPT", "TO:<ü@x.test>".encode(), Path("ü@x.test".encode(), "ü".encode(), b"x.test"), ()),
        (
            "MAIL",
            "FROM:<a@b.test> X=ü".encode(),
            Path(b"a@b.test", b"a", b"b.test"),
            (Parameter("X", "ü".encode()),),
        ),
        ("SAML", b"FROM:<a@b.test>", Path(b"a@b.test", b"a", b"b.test"), ()),
    ],
)
def test_what_the_grammar_allows_has_no_defect(
    verb: str, argument: bytes, path: Path, parameters: tuple[Parameter, ...]
) -> None:
    assert path_argument(verb, argument) == (path, parameters, ())


LONG = b"x" * 65
LABELS = b".".join([b"y" * 60] * 5)


@pytest.mark.parametrize(
    ("verb", "argument", "address", "defects"),
    [
        ("MAIL", b"FROM: <a@b.test>", b"a@b.test", [("space-after-colon", b" ")]),
        ("MAIL", b"FROM :<a@b.test>", b"a@b.test", [("path-syntax", b" ")]),
        ("RCPT", b" TO:<a@b.test>", b"a@b.test", [("odd-space", b" ")]),
        ("MAIL", b"TO:<a@b.test>", b"a@b.test", [("path-syntax", b"TO:<a@b.test>")]),
        ("MAIL", b"FROM<a@b.test>", b"a@b.test", [("path-syntax", b"FROM<a@b.test>")]),
        ("MAIL", b"FROM:a@b.test", b"a@b.test", [("path-without-brackets", b"a@b.test")]),
        (
            "MAIL",
            b'FROM:"a b"@c.test',
            b'"a b"@c.test',
            [("path-without-brackets", b'"a b"@c.test')],
        ),
        ("MAIL", b"FROM:<a@b.test", b"a@b.test", [("path-syntax", b"<a@b.test")]),
        ("MAIL", b"FROM:a@b.test>", b"a@b.test", [("path-syntax", b">")]),
        ("MAIL", b"FROM:<a@b.test>>", b"a@b.test", [("path-syntax", b">")]),
        ("RCPT", b"TO:<>", b"", [("path-syntax", b"<>")]),
        ("RCPT", b"TO:<ann>", b"ann", [("path-without-domain", b"ann")]),
        ("MAIL", b"FROM:<postmaster>", b"postmaster", [("path-without-domain", b"postmaster")]),
        ("RCPT", b"TO:<a..b@c.test>", b"a..b@c.test", [("path-syntax", b"a..b")]),
        ("RCPT", b"TO:<a b@c.test>", b"a b@c.test", [("path-syntax", b"a b")]),
        ("RCPT", b'TO:<"a@c.test>', b'"a@c.test', [("path-syntax", b'"a')]),
        ("RCPT", b"TO:<@c.test>", b"@c.test", [("path-syntax", b"@c.test")]),
        ("RCPT", b"TO:<a@>", b"a@", [("domain-syntax", b"")]),
        ("RCPT", b"TO:<a@b_c.test>", b"a@b_c.test", [("domain-syntax", b"b_c.test")]),
        ("RCPT", b"TO:<a@b..test>", b"a@b..test", [("domain-syntax", b"b..test")]),
        ("RCPT", b"TO:<a@-b.test>", b"a@-b.test", [("domain-syntax", b"-b.test")]),
        ("RCPT", b"TO:<a@b-.test>", b"a@b-.test", [("domain-syntax", b"b-.test")]),
        ("RCPT", b"TO:<a@b.test.>", b"a@b.test.", [("domain-syntax", b"b.test.")]),
        ("RCPT", b"TO:<a@" + LONG + b">", b"a@" + LONG, [("domain-syntax", LONG)]),
        (
            "RCPT",
            b"TO:<" + LONG + b"@b.test>",
            LONG + b"@b.test",
            [("local-part-too-long", LONG)],
        ),
        (
            "RCPT",
            b"TO:<a@" + LABELS + b">",
            b"a@" + LABELS,
            [("path-too-long", b"<a@" + LABELS + b">"), ("domain-too-long", LABELS)],
        ),
        (
            "MAIL",
            "FROM:<ü@b.test>".encode(),
            "ü@b.test".encode(),
            [("eight-bit-address", "<ü@b.test>".encode())],
        ),
        ("RCPT", b"TO:<\xfcx@b.test>", b"\xfcx@b.test", [("path-syntax", b"\xfc")]),
    ],
)
def test_each_oddity_of_a_path_is_told_where_it_is(
    verb: str, argument: bytes, address: bytes, defects: list[tuple[str, bytes]]
) -> None:
    result = path_argument(verb, argument)
    assert result.path is not None
    assert result.path.address == address
    assert told(argument, result.defects) == defects


@pytest.mark.parametrize(
    "literal",
    [
        b"[192.0.2.256]",
        b"[192.0.2]",
        b"[192.0.2.1",
        b"[]",
        b"[2001:db8::1]",
        b"[IPv6:2001:db8:::1]",
        b"[IPv6:fe80::1%0]",
        b"[IPv6:\xff::1]",
    ],
)
def test_a_malformed_address_literal_is_told(literal: bytes) -> None:
    argument = b"TO:<a@" + literal + b">"
    result = path_argument("RCPT", argument)
    assert result.path is not None
    assert result.path.domain == literal
    assert ("address-literal-syntax", literal) in told(argument, result.defects)


def test_a_path_of_256_octets_is_long_enough_and_one_of_257_too_long() -> None:
    domain = b".".join([b"y" * 61] * 4)
    local = b"x" * (256 - len(domain) - 3)
    assert path_argument("RCPT", b"TO:<%s@%s>" % (local, domain)).defects == ()
    longer = b"TO:<x%s@%s>" % (local, domain)
    assert [d.rule for d in path_argument("RCPT", longer).defects] == ["path-too-long"]


def test_a_source_route_is_kept_apart_from_the_address() -> None:
    argument = b"TO:<@a.test,@b.test:user@c.test>"
    path, _, defects = path_argument("RCPT", argument)
    assert path == Path(b"user@c.test", b"user", b"c.test", (b"a.test", b"b.test"))
    assert told(argument, defects) == [("source-route", b"@a.test,@b.test:")]


def test_a_malformed_source_route_is_told_twice_over() -> None:
    _, _, defects = path_argument("RCPT", b"TO:<@a..test:user@c.test>")
    assert [d.rule for d in defects] == ["source-route", "path-syntax"]


def test_an_unbracketed_path_says_so_and_ends_at_the_first_space() -> None:
    path, parameters, _ = path_argument("MAIL", b"FROM:a@b.test SIZE=1")
    assert path == Path(b"a@b.test", b"a", b"b.test", (), False)
    assert parameters == (Parameter("SIZE", b"1"),)


@pytest.mark.parametrize("argument", [b"", b"FROM", b"FROM:", b"FROM: ", b"foo", b"FROM:>"])
def test_no_path_is_none_with_a_path_syntax_defect(argument: bytes) -> None:
    result = path_argument("MAIL", argument)
    assert result.path is None
    assert "path-syntax" in [defect.rule for defect in result.defects]


@pytest.mark.parametrize(
    ("tail", "parameters", "defects"),
    [
        (b" SIZE=1 size=2", [("SIZE", b"1"), ("SIZE", b"2")], [("parameter-twice", b"size=2")]),
        (b"  SIZE=1", [("SIZE", b"1")], [("odd-space", b"  ")]),
        (b"\tSIZE=1", [("SIZE", b"1")], [("odd-space", b"\t")]),
        (b" SIZE=1 ", [("SIZE", b"1")], [("odd-space", b" ")]),
        (b" ", [], [("odd-space", b" ")]),
        (b"SIZE=1", [("SIZE", b"1")], [("parameter-syntax", b"SIZE=1")]),
        (b" SIZE=", [("SIZE", b"")], [("parameter-syntax", b"SIZE=")]),
        (b" A=b=c", [("A", b"b=c")], [("parameter-syntax", b"A=b=c")]),
        (b" =x", [("", b"x")], [("parameter-syntax", b"=x")]),
        (b" A_B=c", [("A_B", b"c")], [("parameter-syntax", b"A_B=c")]),
        (b" A=\x01", [("A", b"\x01")], [("parameter-syntax", b"A=\x01")]),
        (b" A=\xff", [("A", b"\xff")], [("parameter-syntax", b"A=\xff")]),
        (b" \xff=a", [("\\xff", b"a")], [("parameter-syntax", b"\xff=a")]),
    ],
)
def test_each_oddity_of_a_parameter_is_told_where_it_is(
    tail: bytes, parameters: list[tuple[str, bytes]], defects: list[tuple[str, bytes]]
) -> None:
    argument = b"FROM:<a@b.test>" + tail
    result = path_argument("MAIL", argument)
    assert list(result.parameters) == parameters
    assert told(argument, result.defects) == defects


def test_parameters_beyond_the_bound_are_one_defect() -> None:
    words = b"".join(b" =%d" % number for number in range(500))
    result = path_argument("MAIL", b"FROM:<a@b.test>" + words)
    assert len(result.parameters) == MAX_PARAMETERS
    assert result.defects[-1].detail == f"more than {MAX_PARAMETERS} parameters"
    assert result.defects[-1].span.end == BASE + len(words) + 15


PIECES = st.lists(
    st.sampled_from(
        b'FROM: TO: < > @ " \\ , : . a - [ ] IPv6: 1.2.3.4 = SIZE=1 \xc3\xbc \xff _ b.test'.split()
    )
    | st.sampled_from([b" ", b"\t"]),
    max_size=24,
).map(b"".join)


@given(st.sampled_from(["MAIL", "RCPT", "SEND"]), PIECES | st.binary(), st.booleans())
@example("RCPT", b'"a"@b"c', True)
def test_any_octets_give_an_argument_whose_defects_lie_inside(
    verb: str, argument: bytes, prefixed: bool
) -> None:
    if prefixed:
        argument = (b"TO:" if verb == "RCPT" else b"FROM:") + argument
    span = span_of(argument)
    result = grammar.parse_path_argument(verb, argument, span)
    for defect in result.defects:
        assert span.start <= defect.span.start <= defect.span.end <= span.end
    if result.path is not None and result.path.domain:
        path = result.path
        assert path.address == path.local + b"@" + path.domain
    if result.path is None:
        assert result.defects


# RFC 5321 §4.1.1.1: the greeting


@pytest.mark.parametrize(
    ("argument", "domain", "rules"),
    [
        (b"mx1.example.test", b"mx1.example.test", []),
        (b"[192.0.2.1]", b"[192.0.2.1]", []),
        (b"[IPv6:2001:db8::25]", b"[IPv6:2001:db8::25]", []),
        (b"xn--bcher-kva.test", b"xn--bcher-kva.test", []),
        (b"", b"", ["hello-empty"]),
        (b"  ", b"", ["hello-empty"]),
        (b"192.0.2.1", b"192.0.2.1", ["hello-bare-ip"]),
        (b"2001:db8::25", b"2001:db8::25", ["hello-bare-ip"]),
        (b"my_pc.test", b"my_pc.test", ["hello-underscore"]),
        (b"my_pc", b"my_pc", ["hello-underscore"]),
        (b"GP", b"GP", []),
        (b"mx.test.", b"mx.test.", ["hello-syntax"]),
        (b"-mx.test", b"-mx.test", ["hello-syntax"]),
        (b"mx.test-", b"mx.test-", ["hello-syntax"]),
        (b"mx!.test", b"mx!.test", ["hello-syntax"]),
        (b"[192.0.2.1", b"[192.0.2.1", ["hello-syntax"]),
        (b"m\xc3\xbc.test", b"m\xc3\xbc.test", ["hello-syntax"]),
        (b"y." * 128 + b"test", b"y." * 128 + b"test", ["hello-syntax"]),
        (b"mx.test \t", b"mx.test", ["odd-space"]),
        (b"mx.test and more", b"mx.test", ["hello-syntax"]),
    ],
)
def test_a_hello_gives_its_domain_and_what_is_odd_about_it(
    argument: bytes, domain: bytes, rules: list[str]
) -> None:
    found, defects = grammar.parse_hello(argument, span_of(argument))
    assert found == domain
    assert [defect.rule for defect in defects] == rules


def test_what_follows_the_hello_domain_is_pointed_at() -> None:
    argument = b" GP and more"
    domain, defects = grammar.parse_hello(argument, span_of(argument))
    assert domain == b"GP"
    assert told(argument, defects) == [
        ("odd-space", argument),
        ("hello-syntax", b" and more"),
    ]


@given(PIECES | st.binary())
def test_any_hello_gives_defects_that_lie_inside(argument: bytes) -> None:
    span = span_of(argument)
    domain, defects = grammar.parse_hello(argument, span)
    assert domain in argument
    assert all(span.start <= d.span.start <= d.span.end <= span.end for d in defects)


# RFC 3030 §2: BDAT


@pytest.mark.parametrize(
    ("argument", "size", "last", "rules"),
    [
        (b"1000", 1000, False, []),
        (b"86 LAST", 86, True, []),
        (b"0 last", 0, True, []),
        (b"9" * 20, int("9" * 20), False, []),
        (b"9" * 21, None, False, ["bdat-syntax"]),
        (b"", None, False, ["bdat-syntax"]),
        (b"-1", None, False, ["bdat-syntax"]),
        (b"LAST", None, False, ["bdat-syntax"]),
        (b"12x", None, False, ["bdat-syntax"]),
        (b"0x10 LAST", None, False, ["bdat-syntax"]),
        (b"12 LSAT", 12, False, ["bdat-syntax"]),
        (b"12 LAST now", 12, False, ["bdat-syntax"]),
        (b" 12  LAST ", 12, True, ["odd-space"]),
        (b"12 ", 12, False, ["odd-space"]),
    ],
)
def test_a_chunk_size_is_1_to_20_digits_with_or_without_last(
    argument: bytes, size: int | None, last: bool, rules: list[str]
) -> None:
    found = grammar.parse_bdat(argument, span_of(argument))
    assert (found[0], found[1], [defect.rule for defect in found[2]]) == (size, last, rules)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (b"0", 0),
        (b"52428800", 52428800),
        (None, None),
        (b"", None),
        (b"-1", None),
        (b"9" * 21, None),
        (b"\xb2", None),
    ],
)
def test_a_size_is_digits_only(value: bytes | None, size: int | None) -> None:
    assert grammar.parse_size(value) == size


# RFC 5321 §4.1.1.1: the EHLO reply


@pytest.mark.parametrize(
    ("line", "capability"),
    [
        (b"SIZE 52428800", Capability("SIZE", (b"52428800",))),
        (b"pipelining", Capability("PIPELINING", ())),
        (b"AUTH PLAIN LOGIN ", Capability("AUTH", (b"PLAIN", b"LOGIN"))),
        (b"AUTH=LOGIN PLAIN", Capability("AUTH", (b"LOGIN", b"PLAIN"))),
        (b"auth=", Capability("AUTH", ())),
        (b"X-FOO=bar", Capability("X-FOO=BAR", ())),
        (b"", Capability("", ())),
        (b"\xff", Capability("\\xff", ())),
    ],
)
def test_a_capability_is_a_keyword_and_words(line: bytes, capability: Capability) -> None:
    assert grammar.parse_capability(line) == capability


def test_the_greeting_domain_is_the_first_word() -> None:
    assert grammar.greeting_domain(b"mx.test ESMTP ready") == b"mx.test"
    assert grammar.greeting_domain(b" ") == b""


# RFC 5321 §4.2: replies


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"250 ok", (250, b" ", b"ok")),
        (b"250-mx.test", (250, b"-", b"mx.test")),
        (b"250", (250, b"", b"")),
        (b"250 ", (250, b" ", b"")),
        (b"250ok", (250, b"", b"ok")),
        (b"250\tok", (250, b"", b"\tok")),
        (b"2500 ok", (None, b"", b"2500 ok")),
        (b"25 ok", (None, b"", b"25 ok")),
        (b"\xb250 ok", (None, b"", b"\xb250 ok")),
        (b"", (None, b"", b"")),
    ],
)
def test_a_reply_line_is_three_digits_a_separator_and_text(
    line: bytes, parts: tuple[int | None, bytes, bytes]
) -> None:
    assert grammar.parse_reply_line(line) == parts


TEXT = st.binary(max_size=20).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))


@given(st.integers(200, 599), st.lists(TEXT, min_size=1, max_size=4))
def test_a_reply_survives_being_written_and_read_again(code: int, lines: list[bytes]) -> None:
    written = grammar.format_reply(code, lines)
    *read, rest = written.split(b"\r\n")
    assert rest == b""
    parts = [grammar.parse_reply_line(line) for line in read]
    assert parts == [
        (code, b"-" if number < len(lines) - 1 else b" ", text) for number, text in enumerate(lines)
    ]
    assert grammar.format_reply(code, [text for _, _, text in parts]) == written


def test_an_enhanced_code_begins_every_line_of_a_written_reply() -> None:
    written = grammar.format_reply(550, [b"no such", b"user"], EnhancedCode(5, 1, 1))
    assert written == b"550-5.1.1 no such\r\n550 5.1.1 user\r\n"


def test_a_written_reply_has_as_many_lines_as_it_was_given() -> None:
    assert grammar.format_reply(250, []) == b"250 \r\n"
    assert grammar.format_reply(250, [b"hello\r\n250 you\r"]) == b"250 hello  250 you \r\n"


# RFC 2034 §4, RFC 3463 §2: enhanced codes


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"2.1.0 Ok", EnhancedCode(2, 1, 0)),
        (b"5.7.509", EnhancedCode(5, 7, 509)),
        (b"4.300.1 x", EnhancedCode(4, 300, 1)),
        (b"3.1.0 x", None),
        (b"5.999.999 x", EnhancedCode(5, 999, 999)),
        (b"5.999.9999 x", None),
        (b"2.1.0x", None),
        (b"2.1000.0 x", None),
        (b"2.1 x", None),
        (b"2..1 x", None),
        (b" 2.1.0 x", None),
        (b"", None),
    ],
)
def test_an_enhanced_code_begins_the_text_and_ends_at_a_space(
    text: bytes, code: EnhancedCode | None
) -> None:
    assert grammar.parse_enhanced(text) == code


# RFC 3461 §4: xtext; §4.2 and RFC 6533 §3: ORCPT


@given(st.binary())
def test_xtext_brings_back_what_was_encoded(octets: bytes) -> None:
    encoded = grammar.encode_xtext(octets)
    assert grammar.decode_xtext(encoded) == (octets, True)
    assert all(33 <= octet <= 126 for octet in encoded)


@pytest.mark.parametrize(
    ("value", "decoded", "well_formed"),
    [
        (b"QQ314159", b"QQ314159", True),
        (b"a+2Bb+3Dc", b"a+b=c", True),
        (b"a+2bb", b"a+b", False),
        (b"a+", b"a+", False),
        (b"a+ZZ", b"a+ZZ", False),
        (b"a=b", b"a=b", False),
        (b"a\xffb", b"a\xffb", False),
    ],
)
def test_malformed_xtext_is_told_and_decoded_as_far_as_it_goes(
    value: bytes, decoded: bytes, well_formed: bool
) -> None:
    assert grammar.decode_xtext(value) == (decoded, well_formed)


@pytest.mark.parametrize(
    ("value", "kind", "address"),
    [
        (b"rfc822;Ann+2Bx@b.test", "rfc822", b"Ann+x@b.test"),
        (b"RFC822;a@b.test", "rfc822", b"a@b.test"),
        (b"a@b.test", "", b"a@b.test"),
        (b"utf-8;j\\x{FC}rgen@b.test", "utf-8", "jürgen@b.test".encode()),
        (b"utf-8;j+5Cx{FC}rgen@b.test", "utf-8", "jürgen@b.test".encode()),
        (b"utf-8;\\x{D800}\\x{110000}", "utf-8", b"\\x{D800}\\x{110000}"),
        ("utf-8;jürgen@b.test".encode(), "utf-8", "jürgen@b.test".encode()),
        (b"rfc822;\\x{FC}", "rfc822", b"\\x{FC}"),
        (b"\xff;a", "\\xff", b"a"),
    ],
)
def test_an_orcpt_value_is_a_type_and_an_address(value: bytes, kind: str, address: bytes) -> None:
    assert grammar.decode_orcpt(value) == (kind, address)


@given(st.binary())
def test_no_octets_at_all_make_a_reader_raise(octets: bytes) -> None:
    span = span_of(octets)
    size, last, defects = grammar.parse_bdat(octets, span)
    assert size is not None or (defects and not last)
    code, separator, text = grammar.parse_reply_line(octets)
    assert octets.endswith(text)
    assert separator in (b"", b" ", b"-")
    assert code is None or 0 <= code <= 999
    assert grammar.parse_capability(octets).keyword.isascii()
    assert grammar.decode_orcpt(octets)[0].isascii()
    assert grammar.greeting_domain(octets) in octets
    assert (grammar.parse_enhanced(octets) is None) or octets[:1] in b"245"
