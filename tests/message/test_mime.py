from __future__ import annotations

import base64
import hashlib
import io
import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.message import Message, Part, extract_part, read_message
from smtpscope.message import mime as mime_module
from smtpscope.message.mime import MAX_DEPTH, MAX_EMBEDDED, MAX_TEXT, Attachment, StructureReader

MIXED_TEXT = "Content-Type: multipart/mixed; boundary=b\n\n"
MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


def read(text: str) -> tuple[bytes, Message]:
    content = text.replace("\n", "\r\n").encode()
    return content, read_message(content)


def shape(part: Part) -> str:
    if not part.children:
        return part.content_type
    return f"{part.content_type}({', '.join(shape(child) for child in part.children)})"


def bodies(content: bytes, part: Part) -> list[bytes]:
    if not part.children:
        return [body_of(content, part)]
    return [body for child in part.children for body in bodies(content, child)]


def body_of(content: bytes, part: Part) -> bytes:
    out = io.BytesIO()
    extract_part([content], part.number, out)
    return out.getvalue()


def attachment(number: int, filename: str | None, content_type: str, octets: bytes) -> Attachment:
    digest = hashlib.sha256(octets).hexdigest()
    return Attachment(filename, content_type, len(octets), digest, octets[:16], number)


def test_a_message_without_mime_fields_is_one_text_part() -> None:
    content, message = read("Subject: x\n\nabc\n")
    assert message.root == Part("text/plain", None, None, None, "7bit", 0, 14, 19, 5)
    assert body_of(content, message.root) == b"abc\r\n"


def test_a_parts_offsets_tell_where_header_and_body_are() -> None:
    content, message = read(
        "Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n"
        "Content-Type: text/html; charset=UTF-8\n\none\n--b\n\ntwo\n\n--b--\nepilogue"
    )
    one, two = message.root.children
    assert content[one.start : one.body] == b"Content-Type: text/html; charset=UTF-8\r\n\r\n"
    assert content[one.body : one.end] == b"one"
    assert (one.content_type, one.charset) == ("text/html", "UTF-8")
    assert content[two.start : two.body] == b"\r\n"
    assert content[two.body : two.end] == b"two\r\n"
    assert message.root.end == len(content)
    assert message.parts == 2
    assert message.attachments == []


def test_multiparts_nest() -> None:
    content, message = read(
        "Content-Type: multipart/mixed; boundary=outer\n\n"
        "--outer\nContent-Type: multipart/alternative; boundary=inner\n\n"
        "--inner\n\nplain\n--inner\nContent-Type: text/html\n\nhtml\n--inner--\n"
        "--outer\nContent-Type: image/png\n\npng\n--outer--\n"
    )
    assert shape(message.root) == (
        "multipart/mixed(multipart/alternative(text/plain, text/html), image/png)"
    )
    assert bodies(content, message.root) == [b"plain", b"html", b"png"]
    assert message.parts == 3


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
def test_any_line_end_delimits(line_end: bytes) -> None:
    content = line_end.join(
        [MIXED.strip(), b"", b"--b", b"", b"one", b"--b  ", b"", b"two", b"--b--\t", b"end"]
    )
    assert bodies(content, read_message(content).root) == [b"one", b"two"]


def test_a_line_that_only_begins_like_a_delimiter_is_text() -> None:
    content, message = read(MIXED_TEXT + "--b\n\none\n--bb\n--\n ---b\nx--b\n--b---\n--b--\n")
    assert bodies(content, message.root) == [b"one\r\n--bb\r\n--\r\n ---b\r\nx--b\r\n--b---"]


def test_an_outer_delimiter_ends_inner_parts_that_were_never_closed() -> None:
    content, message = read(
        "Content-Type: multipart/mixed; boundary=outer\n\n"
        "--outer\nContent-Type: multipart/mixed; boundary=inner\n\n--inner\n\none\n"
        "--outer\n\ntwo\n--inner\nstill two\n"
    )
    assert shape(message.root) == "multipart/mixed(multipart/mixed(text/plain), text/plain)"
    assert bodies(content, message.root) == [b"one", b"two\r\n--inner\r\nstill two\r\n"]


def test_after_the_close_delimiter_a_boundary_means_nothing() -> None:
    content, message = read(MIXED_TEXT + "--b\n\none\n--b--\n--b\n\nepilogue\n")
    assert bodies(content, message.root) == [b"one"]


def test_a_boundary_used_twice_belongs_to_the_outer_multipart() -> None:
    _, message = read(
        MIXED_TEXT + "--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n"
    )
    assert shape(message.root) == "multipart/mixed(multipart/mixed, text/plain)"


@pytest.mark.parametrize("parameters", ["", "; boundary=", '; boundary=""', "; charset=x"])
def test_a_multipart_without_boundary_is_a_leaf(parameters: str) -> None:
    _, message = read(f"Content-Type: multipart/mixed{parameters}\n\n--\n\nx\n----\n")
    assert shape(message.root) == "multipart/mixed"
    assert message.parts == 1
    assert message.attachments == []


def test_a_multipart_without_parts_has_its_body_as_size() -> None:
    _, message = read(MIXED_TEXT + "no delimiter here\n")
    assert (message.parts, message.root.size) == (1, 19)


def test_a_part_may_end_within_its_header() -> None:
    content, message = read(MIXED_TEXT + "--b\nContent-Type: text/html\n--b\n\n--b\n--b--\n")
    assert shape(message.root) == "multipart/mixed(text/html, text/plain, text/plain)"
    assert bodies(content, message.root) == [b"", b"", b""]


def test_a_blank_line_may_end_a_header_and_begin_the_next_delimiter() -> None:
    content, message = read(
        "Content-Type: multipart/digest; boundary=b\n\n--b\n\n\n--b\n\n\nx\n--b--\n"
    )
    assert bodies(content, message.root) == [b"", b"x"]
    first = message.root.children[0]
    assert first.children[0].end == first.end


def test_a_delimiter_may_be_the_last_octets() -> None:
    content, message = read(MIXED_TEXT + "--b\n\none\n--b")
    assert bodies(content, message.root) == [b"one", b""]


def test_a_boundary_is_taken_in_any_rfc_2231_form() -> None:
    _, message = read(
        'Content-Type: multipart/mixed; boundary*0="a"; boundary*1="b"\n\n--ab\n\nx\n--ab--\n'
    )
    assert shape(message.root) == "multipart/mixed(text/plain)"


@pytest.mark.parametrize("content_type", ["text", "/", "text/", "/html", "a/b/c", "no; x=y"])
def test_a_type_that_is_none_counts_as_plain_text(content_type: str) -> None:
    _, message = read(f"Content-Type: {content_type}\n\nx")
    assert message.root.content_type == "text/plain"


@pytest.mark.parametrize(
    ("fields", "filename", "content_type"),
    [
        ("Content-Type: application/pdf\n", None, "application/pdf"),
        ("Content-Disposition: attachment\n", None, "text/plain"),
        ("Content-Disposition: inline; filename=a.txt\n", "a.txt", "text/plain"),
        ("Content-Type: text/html; name=a.html\n", "a.html", "text/html"),
        (
            "Content-Type: image/png; name=b\nContent-Disposition: ATTACHMENT; filename=a.png\n",
            "a.png",
            "image/png",
        ),
        ("Content-Type: image/png\nContent-Disposition: inline\n", None, "image/png"),
        ("Content-Type: multipart/mixed; name=a.mht\n", "a.mht", "multipart/mixed"),
    ],
)
def test_a_leaf_that_is_a_file_is_an_attachment(
    fields: str, filename: str | None, content_type: str
) -> None:
    whole = read(fields + "\nabc")[1]
    assert whole.attachments == [attachment(0, filename, content_type, b"abc")]
    part = read(MIXED_TEXT + f"--b\n{fields}\nabc\n--b--\n")[1]
    assert part.attachments == [attachment(1, filename, content_type, b"abc")]


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Disposition: inline\n",
        "Content-Type: text/calendar\n",
        'Content-Disposition: inline; filename=""\n',
    ],
)
def test_a_leaf_to_read_is_no_attachment(fields: str) -> None:
    assert read(fields + "\nabc")[1].attachments == []


def test_size_and_digest_of_an_attachment_are_those_of_the_file() -> None:
    file = bytes(range(256)) * 3
    content = (
        MIXED + b"--b\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: BASE64 (x)\r\n"
        b"Content-Disposition: attachment; filename*0*=utf-8''%C3%A9; filename*1=.zip\r\n\r\n"
        + base64.encodebytes(file)
        + b"\r\n--b--\r\n"
    )
    message = read_message(content)
    assert message.attachments == [attachment(1, "é.zip", "application/zip", file)]
    assert body_of(content, message.root.children[0]) == file


def test_quoted_printable_is_decoded_with_soft_breaks_and_junk() -> None:
    content, message = read(
        "Content-Transfer-Encoding: quoted-printable\n\na=3Db=\nc=\n=4d = =ZZ\nend="
    )
    assert body_of(content, message.root) == b"a=bcM = =ZZ\r\nend"
    assert message.root.size == len(b"a=bcM = =ZZ\r\nend")


def test_an_unknown_encoding_leaves_the_octets() -> None:
    content, message = read("Content-Transfer-Encoding: x-uuencode\n\nbegin 644 a\n")
    assert message.root.encoding == "x-uuencode"
    assert body_of(content, message.root) == b"begin 644 a\r\n"


def test_an_embedded_message_is_an_attachment_and_is_taken_apart() -> None:
    inner = (
        "Subject: inner\nContent-Type: multipart/mixed; boundary=i\n\n"
        "--i\n\nhello\n--i\nContent-Type: image/gif; name=x.gif\n\nGIF\n--i--"
    )
    content, message = read(
        MIXED_TEXT + f"--b\nContent-Type: message/rfc822\n\n{inner}\n--b\n\nlast\n--b--\n"
    )
    assert shape(message.root) == (
        "multipart/mixed(message/rfc822(multipart/mixed(text/plain, image/gif)), text/plain)"
    )
    assert bodies(content, message.root) == [b"hello", b"GIF", b"last"]
    octets = inner.encode().replace(b"\n", b"\r\n")
    assert message.attachments == [
        attachment(1, None, "message/rfc822", octets),
        attachment(4, "x.gif", "image/gif", b"GIF"),
    ]
    assert message.parts == 3


def test_an_encoded_embedded_message_is_a_leaf() -> None:
    _, message = read("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nYTogYg==")
    assert shape(message.root) == "message/rfc822"
    assert message.attachments == [attachment(0, None, "message/rfc822", b"a: b")]


def test_parts_of_a_digest_are_messages_by_default() -> None:
    _, message = read("Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: b\n\nx\n--b--\n")
    assert shape(message.root) == "multipart/digest(message/rfc822(text/plain))"


def test_nesting_is_bounded() -> None:
    content = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (depth, depth)
        for depth in range(10_000)
    )
    message = read_message(content)
    part, depth = message.root, 1
    while part.children:
        (part,) = part.children
        depth += 1
    assert depth == MAX_DEPTH
    assert message.truncated


def test_nesting_of_embedded_messages_is_bounded() -> None:
    message = read_message(b"Content-Type: message/rfc822\r\n\r\n" * 10_000)
    assert len(message.attachments) == MAX_EMBEDDED + 1
    assert message.truncated


def test_the_number_of_parts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mime_module, "MAX_PARTS", 4)
    content = MIXED + b"--b\r\n\r\nx\r\n" * 9 + b"--b--\r\n"
    message = read_message(content)
    assert message.parts == 3
    assert message.truncated
    assert message.root.children[-1].end == len(content)
    assert not read_message(MIXED + b"--b\r\n\r\nx\r\n" * 3 + b"--b--\r\n").truncated


FRAGMENTS = [
    *(b"\r\n", b"\n", b"\r", b"--b", b"--c", b"--", b" ", b"\0", b"\xff", b"x: y", b"=", b"QQ"),
    *(b"\r\n\r\n", b"\r\n--b\r\n", b"\r\n--b--\r\n", b"\r\n--c\r\n", b"\r\n--c--\r\n"),
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
    b"Content-Type: multipart/digest; boundary=c\r\n\r\n",
    b"Content-Type: message/rfc822\r\n\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Disposition: attachment; filename*0*=utf-7''",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join))
def test_in_any_content_parts_lie_within_their_parent_and_in_order(content: bytes) -> None:
    message = read_message(content)
    assert message.root.end == len(content)
    waiting = [message.root]
    while waiting:
        part = waiting.pop()
        assert part.start <= part.body <= part.end
        position = part.body
        for child in part.children:
            assert position <= child.start
            assert child.end <= part.end
            position = child.end
        waiting += part.children
    for attachment in message.attachments:
        (attachment.filename or "").encode()


@given(
    st.lists(
        st.sampled_from(
            [
                *FRAGMENTS,
                b"A: " + b"x" * 5_000,
                b"begin 644 f\r\n#86)C\r\nend\r\n",
                b"Content-Type: text/plain; charset=utf-8\r\n",
                b"From x\r\n",
                b"\xc3\xa9",
                b" folded",
            ]
        ),
        max_size=40,
    ).map(b"".join),
    st.lists(st.integers(1, 3_000), min_size=1, max_size=5),
    st.integers(0, 5),
)
def test_any_chunking_gives_the_same_structure_and_the_same_octets(
    content: bytes, sizes: list[int], number: int
) -> None:
    whole, pieces = io.BytesIO(), io.BytesIO()
    expected = StructureReader(number, whole).finish(content)
    reader = StructureReader(number, pieces)
    for size in itertools.cycle(sizes):
        if not content:
            break
        reader.feed(content[:size])
        content = content[size:]
    assert reader.finish() == expected
    assert pieces.getvalue() == whole.getvalue()


@pytest.mark.parametrize(
    ("step", "field"), [(70_000, b"A: "), (1_000, b"A: "), (50_000, b"A : "), (3_000, b"x")]
)
def test_a_header_larger_than_the_bounds_reads_the_same_in_pieces(step: int, field: bytes) -> None:
    content = (
        field + b"x" * 200_000 + b"\r\nB: 2\r\n" + (b"C: " + b"y" * 60_000 + b"\r\n") * 20
    ) + b"\r\nbody"
    reader = StructureReader()
    for start in range(0, len(content), step):
        reader.feed(content[start : start + step])
    assert reader.finish() == StructureReader().finish(content)


def test_octets_that_have_been_read_are_let_go() -> None:
    reader = StructureReader()
    reader.feed(b"A: " + b"x" * 3_000_000)
    header = sys.getsizeof(reader._buffer)
    reader.feed(b"\r\n" + MIXED + b"--b\r\n\r\n" + b"line\r\n" * 500_000)
    assert header < 100
    assert sys.getsizeof(reader._buffer) < 100


def test_a_part_that_is_not_there_can_not_be_extracted() -> None:
    with pytest.raises(ValueError, match="no part 1"):
        extract_part([b"A: b\r\n\r\nx"], 1, io.BytesIO())


def test_extracting_an_embedded_message_gives_it_as_it_stands() -> None:
    inner = b"A: b\r\n\r\ntext"
    content = MIXED + b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n"
    out = io.BytesIO()
    extract_part([content[:70], content[70:]], 1, out)
    assert out.getvalue() == inner


def test_lines_that_are_nearly_delimiters_are_text_however_many_there_are() -> None:
    many = b"\r\n--bx" * 3_000
    content = MIXED + b"--b\r\n\r\n" + many + b"\r\n--b\r\n\r\nlast\r\n--b--" + many
    assert [len(body) for body in bodies(content, read_message(content).root)] == [len(many), 4]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"Content-Type: multipart/mixed\r\n\r\nx", "boundary-missing"),
        (MIXED + b"x", "boundary-unseen"),
        (MIXED + b"--b\r\n\r\nx", "multipart-unclosed"),
        (b"Content-Transfer-Encoding: base64\r\n\r\nab!c", "base64-broken"),
        (b"Content-Transfer-Encoding: quoted-printable\r\n\r\n1=2", "quoted-printable-broken"),
        (b"Content-Type: text/plain; charset=us-ascii\r\n\r\n\xe9", "charset-lies"),
        (b"Content-Type: text/plain; charset=UTF-8\r\n\r\n\xe9", "charset-lies"),
        (b"Content-Type: text/plain; charset=UTF-8\r\n\r\n\xc3", "charset-lies"),
        (b"Content-Type: text/plain; charset=windows-1252\r\n\r\n\xc3\xa9", "charset-lies"),
        (b"Content-Type: text/plain; charset=x-none\r\n\r\nx", "charset-unknown"),
        (b"A: b\r\nno field\r\nC: d\r\n\r\nx", "header-line-malformed"),
        (b"A: b\r\nDear all\r\n\r\nx", "no-blank-line"),
    ],
)
def test_what_is_wrong_with_the_structure_is_told(content: bytes, rule: str) -> None:
    assert [flaw.rule for flaw in read_message(content).flaws] == [rule]


@pytest.mark.parametrize(
    "content",
    [
        MIXED + b"--b\r\n\r\nx\r\n--b--\r\n",
        b"Content-Transfer-Encoding: base64\r\n\r\nabcd\r\n",
        b"Content-Type: text/plain; charset=us-ascii\r\n\r\nx",
        b"Content-Type: text/plain; charset=UTF-8\r\n\r\n\xc3\xa9",
        b"Content-Type: text/plain; charset=koi8-r\r\n\r\n\xc3",
        b"A: b\r\n",
        b"no header",
    ],
)
def test_nothing_is_told_of_a_sound_structure(content: bytes) -> None:
    assert read_message(content).flaws == []


def test_a_flaw_is_told_once_with_its_count_and_its_first_place() -> None:
    part = b"--b\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\xe9\r\n"
    content = MIXED + part * 3 + b"--b--\r\n"
    (flaw,) = read_message(content).flaws
    assert (flaw.rule, flaw.times, flaw.detail) == ("charset-lies", 3, "us-ascii")
    assert content[flaw.start : flaw.end] == b"\xe9"


def test_texts_of_a_part_are_bounded() -> None:
    name = b"n" * 5_000
    content = (
        b"Content-Type: text/" + name + b"; charset=" + name + b"; name=" + name + b"\r\n"
        b"Content-Disposition: " + name + b"\r\nContent-Transfer-Encoding: " + name + b"\r\n\r\n"
    )
    part = read_message(content).root
    texts = (part.content_type, part.charset, part.filename, part.disposition, part.encoding)
    assert {len(each or "") for each in texts} == {MAX_TEXT}
