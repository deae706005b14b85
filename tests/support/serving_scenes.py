"""Dialogues with a server as transcripts, each named by the RFC's section that it shows.

`support.responding.play` holds a responder against them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from support.responding import FULL, Wanted

from smtpscope.smtp.serving.answers import Answer
from smtpscope.smtp.serving.settings import Settings, User

PLAIN = Settings(host="foo.com", extensions=("8BITMIME", "SIZE 1000", "HELP"), hide=frozenset())
OK = {key: Answer(250, "", "OK") for key in ("mail", "rcpt", "stored", "rset", "noop")}
APPENDIX_D = replace(
    PLAIN,
    replies={
        **OK,
        "greeting": Answer(220, "", "{host} Simple Mail Transfer Service Ready"),
        "data": Answer(354, "", "Start mail input; end with <CRLF>.<CRLF>"),
        "quit": Answer(221, "", "{host} Service closing transmission channel"),
    },
    users=(User("Jones@foo.com"), User("Brown@foo.com")),
    accept_unknown=False,
)


class Scene(NamedTuple):
    title: str
    settings: Settings
    transcript: str
    wanted: Wanted | None = None


SCENES = [
    Scene(
        "RFC 5321 appendix D.1: a typical transaction",
        APPENDIX_D,
        """
        S: 220 foo.com Simple Mail Transfer Service Ready
        C: EHLO bar.com
        S: 250-foo.com greets bar.com
        S: 250-8BITMIME
        S: 250-SIZE 1000
        S: 250 HELP
        C: MAIL FROM:<Smith@bar.com>
        S: 250 OK
        C: RCPT TO:<Jones@foo.com>
        S: 250 OK
        C: RCPT TO:<Green@foo.com>
        S: 550 No such user here
        C: RCPT TO:<Brown@foo.com>
        S: 250 OK
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: Blah blah blah...
        C: ..etc. etc. etc.
        C: .
        S: 250 OK
        C: QUIT
        S: 221 foo.com Service closing transmission channel
        """,
    ),
    Scene(
        "RFC 5321 §4.1.1.4, §4.5.2: an empty message is a dot alone",
        APPENDIX_D,
        """
        S: 220 foo.com Simple Mail Transfer Service Ready
        C: HELO bar.com
        S: 250 foo.com
        C: MAIL FROM:<>
        S: 250 OK
        C: RCPT TO:<Postmaster>
        S: 250 OK
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: .
        S: 250 OK
        """,
    ),
    Scene(
        "RFC 5321 §3.3, §4.1.4: the wrong order draws 503",
        Settings(),
        """
        S: 220 localhost ESMTP smtpscope
        C: MAIL FROM:<a@b.test>
        S: 503 5.5.1 Say hello first
        C: HELO x.test
        S: 250 localhost
        C: RCPT TO:<a@b.test>
        S: 503 5.5.1 MAIL first
        C: DATA
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<a@b.test>
        S: 250 2.1.0 Ok
        C: MAIL FROM:<a@b.test>
        S: 503 5.5.1 A transaction is open already
        C: DATA
        S: 503 5.5.1 RCPT first
        C: RSET
        S: 250 2.0.0 Ok
        C: RCPT TO:<a@b.test>
        S: 503 5.5.1 MAIL first
        """,
    ),
    Scene(
        "RFC 5321 §4.1.1, §4.2.4: syntax errors, unknown and unimplemented commands",
        Settings(),
        """
        S: 220 localhost ESMTP smtpscope
        C: EHLO
        S: 501 Syntax: EHLO hostname
        C: FOO bar
        S: 500 5.5.1 Command not recognized
        C:
        S: 500 5.5.1 Command not recognized
        C: SEND FROM:<a@b.test>
        S: 502 5.5.1 Command not implemented
        C: TURN
        S: 502 5.5.1 Command not implemented
        C: STARTTLS
        S: 502 5.5.1 Command not implemented
        C: RSET x
        S: 501 5.5.4 RSET takes no argument
        C: HELO x.test
        S: 250 localhost
        C: MAIL FROM: <a@b.test>
        S: 250 2.1.0 Ok
        C: RCPT TO:a@b.test
        S: 501 5.1.3 Bad recipient address: path without brackets
        C: RCPT TO:<a@b.test> NOTIFY=NEVER
        S: 555 5.5.4 Unsupported parameter NOTIFY
        """,
    ),
    Scene(
        "RFC 5321 §4.1.1.11, RFC 1870, RFC 3461: parameters",
        Settings(hide=frozenset({"BINARYMIME", "LIMITS"}), max_size=1_000),
        """
        S: 220 localhost ESMTP smtpscope
        C: EHLO x.test
        S: 250-localhost greets x.test
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-DSN
        S: 250-ENHANCEDSTATUSCODES
        S: 250 HELP
        C: MAIL FROM:<a@b.test> FOO=1
        S: 555 5.5.4 Unsupported parameter FOO
        C: MAIL FROM:<a@b.test> SIZE=x
        S: 501 5.5.4 Bad value of parameter SIZE
        C: MAIL FROM:<a@b.test> SIZE=1001
        S: 552 5.3.4 Message size exceeds the limit of 1000 octets
        C: MAIL FROM:<a@b.test> BODY=BINARYMIME
        S: 504 5.5.4 Unsupported value of parameter BODY
        C: MAIL FROM:<a@b.test> RET=SOME
        S: 501 5.5.4 Bad value of parameter RET
        C: MAIL FROM:<a@b.test> RET=HDRS RET=FULL
        S: 501 5.5.4 Bad parameter: parameter twice: RET
        C: MAIL FROM:<\\xc3\\xbc@b.test>
        S: 550 5.6.7 A sender with UTF-8 needs SMTPUTF8
        C: MAIL FROM:<a@b.test> SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=QQ+2B314159
        S: 250 2.1.0 Ok
        C: RCPT TO:<c@d.test> NOTIFY=NEVER,DELAY
        S: 501 5.5.4 Bad value of parameter NOTIFY
        C: RCPT TO:<\\xc3\\xbc@b.test>
        S: 553 5.6.7 A recipient with UTF-8 needs SMTPUTF8 in MAIL
        C: RCPT TO:<c@d.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@d.test
        S: 250 2.1.5 Ok
        """,
    ),
    Scene(
        "RFC 2920 §4: pipelining, the first example",
        replace(PLAIN, host="innosoft.com", extensions=("PIPELINING",), replies=OK),
        """
        S: 220 innosoft.com ESMTP smtpscope
        C: EHLO dbc.mtview.ca.us
        S: 250-innosoft.com greets dbc.mtview.ca.us
        S: 250 PIPELINING
        C: MAIL FROM:<mrose@dbc.mtview.ca.us>
        C: RCPT TO:<ned@innosoft.com>
        C: RCPT TO:<dan@innosoft.com>
        C: RCPT TO:<kvc@innosoft.com>
        C: DATA
        S: 250 OK
        S: 250 OK
        S: 250 OK
        S: 250 OK
        S: 354 End data with <CR><LF>.<CR><LF>
        C: a message
        C: .
        C: QUIT
        S: 250 OK
        S: 221 innosoft.com closing connection
        """,
    ),
    Scene(
        "RFC 2920 §4: pipelining with no recipient left",
        replace(PLAIN, extensions=("PIPELINING",), domains=frozenset({"dbc.test"})),
        """
        S: 220 foo.com ESMTP smtpscope
        C: EHLO dbc.mtview.ca.us
        S: 250-foo.com greets dbc.mtview.ca.us
        S: 250 PIPELINING
        C: MAIL FROM:<mrose@dbc.mtview.ca.us>
        C: RCPT TO:<nsb@thumper.bellcore.com>
        C: RCPT TO:<galvin@tis.com>
        C: DATA
        S: 250 Ok
        S: 550 Relaying denied
        S: 550 Relaying denied
        S: 554 No valid recipients
        C: QUIT
        S: 221 foo.com closing connection
        """,
    ),
    Scene(
        "RFC 3030 §4.1: BDAT LAST",
        Settings(replies={"bdat": Answer(250, "", "{size} octets received")}),
        """
        S: 220 localhost ESMTP smtpscope
        C: HELO cnri.reston.va.us
        S: 250 localhost
        C: MAIL FROM:<Sam@Random.com>
        S: 250 2.1.0 Ok
        C: RCPT TO:<Susan@Random.com>
        S: 250 2.1.5 Ok
        C: BDAT 10 LAST
        C: .\\r\\n12345<none>
        C: 67QUIT
        S: 250 2.0.0 Ok: queued as 1
        S: 221 2.0.0 localhost closing connection
        """,
    ),
    Scene(
        "RFC 3030 §4.2: chunks in a pipeline, binary",
        Settings(hide=frozenset({"SIZE", "SMTPUTF8", "DSN", "LIMITS", "HELP"})),
        """
        S: 220 localhost ESMTP smtpscope
        C: EHLO cnri.reston.va.us
        S: 250-localhost greets cnri.reston.va.us
        S: 250-PIPELINING
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-BINARYMIME
        S: 250 ENHANCEDSTATUSCODES
        C: MAIL FROM:<ned@ymir.claremont.edu> BODY=BINARYMIME
        C: RCPT TO:<gvaudre@cnri.reston.va.us>
        C: RCPT TO:<jstewart@cnri.reston.va.us>
        C: BDAT 6
        C: \\x00a\\nb\\xff\\r<none>
        C: BDAT 3
        C: \\nxy<none>
        C: BDAT 0 LAST
        S: 250 2.1.0 Ok
        S: 250 2.1.5 Ok
        S: 250 2.1.5 Ok
        S: 250 2.0.0 6 octets received
        S: 250 2.0.0 3 octets received
        S: 250 2.0.0 Ok: queued as 1
        C: MAIL FROM:<ned@ymir.claremont.edu> BODY=BINARYMIME
        C: RCPT TO:<gvaudre@cnri.reston.va.us>
        C: DATA
        C: RSET
        S: 250 2.1.0 Ok
        S: 250 2.1.5 Ok
        S: 503 5.5.1 BODY=BINARYMIME needs BDAT
        S: 250 2.0.0 Ok
        """,
    ),
    Scene(
        "RFC 3030 §2: the octets of a chunk that is refused are passed over",
        Settings(max_size=8),
        """
        S: 220 localhost ESMTP smtpscope
        C: HELO x.test
        S: 250 localhost
        C: BDAT 6
        C: QUIT<none>
        C:
        C: MAIL FROM:<a@b.test>
        C: RCPT TO:<a@b.test>
        C: BDAT 6
        C: 123456BDAT 6
        C: QUIT<none>
        C:
        C: BDAT 6 LAST
        C: QUIT<none>
        C:
        S: 503 5.5.1 MAIL first
        S: 250 2.1.0 Ok
        S: 250 2.1.5 Ok
        S: 250 2.0.0 6 octets received
        S: 552 5.3.4 Message size exceeds the limit of 8 octets
        S: 503 5.5.1 A chunk was refused: RSET first
        C: MAIL FROM:<a@b.test>
        C: RCPT TO:<a@b.test>
        C: BDAT 0
        C: DATA
        C: BDAT x
        C: BDAT 4 LASTING
        C: QUITRSET
        S: 250 2.1.0 Ok
        S: 250 2.1.5 Ok
        S: 250 2.0.0 0 octets received
        S: 503 5.5.1 BDAT was used already
        S: 501 5.5.4 Syntax: BDAT size [LAST]
        S: 501 5.5.4 Syntax: BDAT size [LAST]
        S: 250 2.0.0 Ok
        """,
    ),
    Scene(
        "RFC 2033 §4.4: LMTP answers for each recipient",
        Settings(
            host="foo.edu",
            lmtp=True,
            extensions=("PIPELINING", "SIZE 0"),
            replies=OK,
            users=(User("pat@foo.edu"), User("green@foo.edu")),
            accept_unknown=False,
        ),
        """
        S: 220 foo.edu LMTP smtpscope
        C: EHLO foo.edu
        S: 500 This is LMTP: say LHLO
        C: LHLO foo.edu
        S: 250-foo.edu greets foo.edu
        S: 250-PIPELINING
        S: 250 SIZE 0
        C: MAIL FROM:<chris@bar.com>
        S: 250 OK
        C: DATA
        S: 503 RCPT first
        C: RCPT TO:<pat@foo.edu>
        S: 250 OK
        C: RCPT TO:<jones@foo.edu>
        S: 550 No such user here
        C: RCPT TO:<green@foo.edu>
        S: 250 OK
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        C: Blah blah blah...
        C: .
        S: 250 <pat@foo.edu> Ok: queued as 1
        S: 452 <green@foo.edu> is temporarily over quota
        C: QUIT
        S: 221 foo.edu closing connection
        """,
        Wanted(each=(None, Answer(452, "4.2.2", "<green@foo.edu> is temporarily over quota"))),
    ),
    Scene(
        "RFC 3207 §4, §4.2: plain text behind STARTTLS is thrown away, EHLO has to come again",
        Settings(starttls=True, extensions=("STARTTLS", "HELP"), require_tls=True),
        """
        S: 220 localhost ESMTP smtpscope
        C: EHLO x.test
        S: 250-localhost greets x.test
        S: 250-STARTTLS
        S: 250 HELP
        C: MAIL FROM:<a@b.test>
        S: 530 Must issue a STARTTLS command first
        C: STARTTLS
        C: EHLO evil.test
        C: MAIL FROM:<evil@b.test>
        S: 220 Ready to start TLS
        (tls)
        C: MAIL FROM:<a@b.test>
        S: 503 Say hello first
        C: EHLO x.test
        S: 250-localhost greets x.test
        S: 250 HELP
        C: STARTTLS
        S: 503 TLS is active already
        C: MAIL FROM:<a@b.test>
        S: 250 Ok
        """,
    ),
    Scene(
        "RFC 1985 §5: ETRN",
        replace(FULL, extensions=("ETRN",)),
        """
        S: 220 mx.test ESMTP smtpscope
        C: EHLO x.test
        S: 250-mx.test greets x.test
        S: 250 ETRN
        C: ETRN
        S: 501 ETRN needs an argument
        C: ETRN a b
        S: 501 Syntax: ETRN [@|#]node
        C: ETRN localname
        S: 250 Ok, queuing for node localname started
        C: ETRN #queue_1
        S: 250 Ok, queuing for node queue_1 started
        """,
    ),
    Scene(
        "RFC 5321 §3.5: VRFY and EXPN",
        replace(FULL, extensions=("ENHANCEDSTATUSCODES", "SMTPUTF8", "8BITMIME")),
        """
        S: 220 mx.test ESMTP smtpscope
        C: VRFY Foonly
        S: 250 2.1.5 Fred Foonly <fred@mx.test>
        C: VRFY <sam@mx.test>
        S: 250 2.1.5 Sam Smith <sam@mx.test>
        C: VRFY smith
        S: 553-5.1.4 Ambiguous; possibilities are
        S: 553-5.1.4 Sam Smith <sam@mx.test>
        S: 553 5.1.4 Joe Smith <joe@mx.test>
        C: VRFY nobody
        S: 550 5.1.1 No such user here
        C: VRFY fwd
        S: 251 2.1.5 User not local; will forward to <fern@far.test>
        C: VRFY moved
        S: 551 5.1.6 User not local; please try <max@far.test>
        C: VRFY all
        S: 250 2.1.5 <all@mx.test>
        C: EXPN all
        S: 250-2.1.5 Fred Foonly <fred@mx.test>
        S: 250-2.1.5 Sam Smith <sam@mx.test>
        S: 250 2.1.5 <else@far.test>
        C: EXPN fred
        S: 250 2.1.5 Fred Foonly <fred@mx.test>
        C: EXPN none
        S: 550 5.1.1 No such list here
        C: VRFY j\\xc3\\xbcrgen
        S: 252 2.6.8 The answer needs UTF-8: add SMTPUTF8
        C: VRFY j\\xc3\\xbcrgen SMTPUTF8
        S: 250 2.1.5 J\\xc3\\xbcrgen <j\\xc3\\xbcrgen@mx.test>
        C: VRFY
        S: 501 5.5.4 VRFY needs an argument
        """,
    ),
    Scene(
        "RFC 5321 §3.5.3, §7.3: VRFY and EXPN that tell nothing",
        Settings(expn="auth"),
        """
        S: 220 localhost ESMTP smtpscope
        C: VRFY fred
        S: 252 2.5.0 Cannot VRFY user, but will take the message
        C: EXPN all
        S: 530 5.7.0 Authentication required
        C: HELP FROBNICATE
        S: 504 5.5.4 No help on that topic
        C: HELP quit
        S: 214-2.0.0 QUIT
        S: 214 2.0.0 Ends the session. The server answers 221 and closes; the client waits for that.
        C: HELP
        S: 214-2.0.0 Commands:
        S: 214 2.0.0 HELO EHLO MAIL RCPT DATA RSET NOOP QUIT VRFY EXPN HELP BDAT
        """,
    ),
    Scene(
        "RFC 5321 §4.1.1.4: only CRLF.CRLF ends data; a bare LF is refused at the end",
        Settings(),
        """
        S: 220 localhost ESMTP smtpscope
        C: HELO x.test
        C: MAIL FROM:<a@b.test>
        C: RCPT TO:<a@b.test>
        C: DATA
        S: 250 localhost
        S: 250 2.1.0 Ok
        S: 250 2.1.5 Ok
        S: 354 End data with <CR><LF>.<CR><LF>
        C: one<LF>
        C: .<LF>
        C: MAIL FROM:<evil@b.test>
        C: ..x
        C: .\\r<none>
        C: \\nNOOP
        S: 554 5.6.0 Bare LF in the message: lines end with CR LF
        S: 250 2.0.0 Ok
        C: NOOP<LF>
        S: 500 5.5.2 Bare LF: lines end with CR LF
        """,
    ),
    Scene(
        "RFC 5321 §2.3.8: bare LFs accepted and flagged",
        Settings(bare_lf="accept-and-flag"),
        """
        S: 220 localhost ESMTP smtpscope
        C: HELO x.test<LF>
        C: MAIL FROM:<a@b.test>
        C: RCPT TO:<a@b.test>
        C: DATA
        S: 250 localhost
        S: 250 2.1.0 Ok
        S: 250 2.1.5 Ok
        S: 354 End data with <CR><LF>.<CR><LF>
        C: one<LF>
        C: .<LF>
        C: ..two
        C: ..three
        C: .\\r<none>
        C: \\nNOOP
        S: 250 2.0.0 Ok: queued as 1
        S: 250 2.0.0 Ok
        """,
    ),
    Scene(
        "RFC 1870 §6.4: a message that turns out to be too large is read to its end",
        Settings(max_size=10),
        """
        S: 220 localhost ESMTP smtpscope
        C: HELO x.test
        C: MAIL FROM:<a@b.test>
        C: RCPT TO:<a@b.test>
        C: DATA
        C: 12345678901
        C: more
        C: .
        C: NOOP
        S: 250 localhost
        S: 250 2.1.0 Ok
        S: 250 2.1.5 Ok
        S: 354 End data with <CR><LF>.<CR><LF>
        S: 552 5.3.4 Message size exceeds the limit of 10 octets
        S: 250 2.0.0 Ok
        """,
    ),
    Scene(
        "RFC 5321 §4.5.3.1.10, RFC 9422: too many recipients, domains and transactions",
        Settings(
            max_recipients=2, max_recipient_domains=1, max_mails=1, extensions=("LIMITS", "HELP")
        ),
        """
        S: 220 localhost ESMTP smtpscope
        C: EHLO x.test
        S: 250-localhost greets x.test
        S: 250-LIMITS MAILMAX=1 RCPTMAX=2 RCPTDOMAINMAX=1
        S: 250 HELP
        C: MAIL FROM:<a@b.test>
        C: RCPT TO:<a@b.test>
        C: RCPT TO:<a@c.test>
        C: RCPT TO:<b@b.test>
        C: RCPT TO:<c@b.test>
        C: RSET
        C: MAIL FROM:<a@b.test>
        S: 250 Ok
        S: 250 Ok
        S: 452 Recipients in too many domains
        S: 250 Ok
        S: 452 Too many recipients
        S: 250 Ok
        S: 452 Too many transactions in this session
        """,
    ),
    Scene(
        "RFC 5321 §3.1: after a greeting of 554 there is only QUIT",
        Settings(greeting="greeting.refused"),
        """
        S: 554 localhost no SMTP service here
        C: EHLO x.test
        S: 503 5.5.1 No service: QUIT is all there is to say
        C: QUIT
        S: 221 2.0.0 localhost closing connection
        """,
    ),
]
