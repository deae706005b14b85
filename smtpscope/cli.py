"""The command line. Each command imports what it needs when it runs, so that --help is quick.

Data goes to standard output, diagnostics and the progress bar to standard error. Exit status:
0 ok, 1 runtime error, 2 usage, 3 a finding at or above --fail-on, 4 no permission to capture, 5
input that is no capture, 130 on Ctrl-C.
"""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

import click

from smtpscope import __version__
from smtpscope.ca_command import ca
from smtpscope.errors import NoCaptureError, SmtpscopeError, UsageError
from smtpscope.options import (
    FOUND,
    INTERRUPTED,
    key_logs,
    on_terminal,
    port_option,
    review_options,
    tell,
    tell_notes,
    text_options,
    wants_screen,
    width,
)
from smtpscope.proxy_command import proxy
from smtpscope.queue_command import queue
from smtpscope.serve_command import serve
from smtpscope.sniff_command import sniff


class _Commands(click.Group):
    """The commands; where the first word is none of them, it is a file to read, and without any
    the screen is opened."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and on_terminal():
            args = ["home"]
        if args and args[0] not in self.commands and args[0] not in ("--help", "--version"):
            args = ["read", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SMTPSCOPE"},
    epilog="`smtpscope FILE…` is the same as `smtpscope read FILE…`; `smtpscope` alone lets you"
    " choose on the screen.",
)
@click.version_option(__version__, message="smtpscope %(version)s")
def cli() -> None:
    """See what mail clients and servers really said to each other."""


cli.add_command(sniff)
cli.add_command(proxy)
cli.add_command(serve)
cli.add_command(queue)
cli.add_command(ca)


@cli.command()
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@review_options
@port_option
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    help="Decode with so many processes. By default as many as the file is large enough for.",
)
@click.option(
    "--follow",
    is_flag=True,
    help="Go on where the file ends, as it grows, and where it is rotated; Ctrl-C ends that.",
)
def read(
    files: tuple[str, ...], port: tuple[int, ...], jobs: int | None, follow: bool, **options: Any
) -> None:
    """Review captures (pcap, pcapng; plain, gzip or zstd; - is standard input, live).

    On a terminal this opens the screen; with --no-tui, --format or --fail-on it prints.

    SMTP is recognised on ports 25, 465, 587, 1025 and 2525, and by its content on any port.
    """
    if follow or options["format"] == "events" or (files == ("-",) and _is_stream(0)):
        from smtpscope.live import Showing, follow_captures
        from smtpscope.sniffing import Sniffer

        with Sniffer(port) as sniffer:
            showing = Showing(ports=frozenset(port), starting=sniffer, **options)
            follow_captures(files, showing, on=follow)
    else:
        _review(files, port, jobs, **options)


@cli.command(hidden=True)
def home() -> None:
    """Choose on the screen what to review."""
    from smtpscope.sniffing import Sniffer
    from smtpscope.tui.start import start

    with Sniffer() as sniffer:
        sniffer.ready()
        raise click.exceptions.Exit(start([], starting=sniffer))


@cli.command()
@review_options
def demo(**options: Any) -> None:
    """Review the captures that come with smtpscope."""
    from smtpscope.places import bundled_captures

    _review([str(path) for path in bundled_captures()], (), 1, **options)


@cli.command()
@click.argument("words", metavar="WORD…", nargs=-1)
@click.option(
    "--rules", is_flag=True, help="List the rules of findings that have every WORD, one a line."
)
@click.option(
    "--format",
    type=click.Choice(["text", "jsonl", "markdown"]),
    help="How to list the rules.  [default: text]",
)
def explain(words: tuple[str, ...], rules: bool, format: str | None) -> None:
    """Look up a command, code, keyword, parameter, mechanism, limit, or the rule of a finding.

    \b
    smtpscope explain 550            a reply code
    smtpscope explain 250 RCPT       a reply code as the answer to a command
    smtpscope explain 5.7.1          an enhanced status code
    smtpscope explain SIZE           a keyword
    smtpscope explain bare-lf        a rule, with a sample dialogue
    smtpscope explain --rules        all rules
    smtpscope explain --rules tls    those that are about TLS
    """
    if rules:
        _list_rules(words, format or "text")
    elif format:
        raise click.UsageError("--format is for the list of rules: add --rules")
    elif words:
        _explain(words)
    else:
        raise click.UsageError("Name what to explain: smtpscope explain 550")


def _list_rules(words: tuple[str, ...], format: str) -> None:
    from smtpscope.findings.explain import json_lines, listing, markdown, rules_about

    found = rules_about(words)
    if not found:
        raise UsageError(f"no rule has “{_shown(' '.join(words))}”. Without words all are listed.")
    lines = {"text": listing, "jsonl": json_lines, "markdown": markdown}[format]
    for line in lines(found):
        click.echo(line)


def _explain(words: tuple[str, ...]) -> None:
    from smtpscope import reference
    from smtpscope.findings import RULES
    from smtpscope.findings.explain import dialogue, entry

    rule = words[0].lower() if len(words) == 1 else ""
    if rule in RULES:
        click.echo(reference.render([entry(rule)], width=width()))
        sample = list(dialogue(rule))
        if sample:
            click.echo("\n  for example")
            for line in sample:
                click.echo(f"    {line}")
        return
    if problem := reference.impossible(words):
        raise UsageError(f"{_shown(problem)}.")
    entries = reference.explain(words)
    if entries and (unknown := reference.unexplained(words)):
        raise UsageError(f"nothing is known about “{_shown(' '.join(unknown))}”: leave it out.")
    if not entries:
        nearest = [*reference.nearest(" ".join(words)), *get_close_matches(rule, RULES, 3)]
        hint = f" Nearest: {', '.join(nearest)}." if nearest else ""
        raise UsageError(f"nothing is known about “{_shown(' '.join(words))}”.{hint}")
    click.echo(reference.render(entries, width=width()))


@cli.command()
def info() -> None:
    """Tell versions, and where what is kept on this machine lies, with its size."""
    from smtpscope.information import lines

    for line in lines():
        click.echo(line)


@cli.command()
@click.argument("format", type=click.Choice(["jsonl", "events"]), default="jsonl")
def schema(format: str) -> None:
    """Print the JSON Schema of `--format jsonl`, or of `--format events`."""
    import json

    from smtpscope.export import events, jsonl

    made = events.schema() if format == "events" else jsonl.schema()
    click.echo(json.dumps(made, indent=2))


def _review(
    files: Sequence[str],
    ports: Sequence[int],
    jobs: int | None,
    *,
    format: str,
    reveal_secrets: bool,
    tls_keylog: tuple[str, ...],
    local_domain: tuple[str, ...],
    fail_on: str | None,
    filter: str,
    no_tui: bool,
) -> None:
    from smtpscope.export import jsonl, text
    from smtpscope.findings.relay import policy_of
    from smtpscope.parallel import Render, read_rendered, usual_jobs
    from smtpscope.progress import Progress
    from smtpscope.reading import SMTP_PORTS, spare_collector
    from smtpscope.session import Severity

    policy = policy_of(local_domain)
    if wants_screen(no_tui, fail_on) and _files(files):
        from smtpscope.sniffing import Sniffer
        from smtpscope.tui.start import start

        with Sniffer(ports) as sniffer:
            status = start(
                [*files],
                ports=frozenset(ports),
                policy=policy,
                jobs=jobs,
                filter=filter,
                reveal=reveal_secrets,
                key_logs=key_logs(tls_keylog),
                starting=sniffer,
            )
        raise click.exceptions.Exit(status)
    spare_collector()
    render: Render[str] = partial(jsonl.dumps, reveal=reveal_secrets)
    if format == "text":
        render = partial(text.dumps, **text_options(reveal_secrets))
    if filter:
        from smtpscope import filters

        filters.parse(filter)
        render = partial(filters.only, filter, render)
    out = sys.stdout
    status = 0
    worst = -1
    for file in files:
        notes: list[str] = []
        with Progress(sys.stderr) as progress:
            texts = read_rendered(
                file,
                render,
                jobs or usual_jobs(file),
                ports=SMTP_PORTS.union(ports),
                policy=policy,
                key_logs=key_logs(tls_keylog),
                on_progress=progress.update,
                on_note=notes.append,
            )
            try:
                for severity, shown in texts:
                    progress.clear()
                    worst = max(worst, severity)
                    out.write(shown)
                    out.write("\n")
            except NoCaptureError as error:
                # The other files are read all the same.
                tell(str(error))
                status = error.exit_status
        tell_notes(file, notes)
    if not status and fail_on is not None and worst >= Severity[fail_on.upper()]:
        status = FOUND
    if status:
        raise click.exceptions.Exit(status)


def _is_stream(descriptor: int) -> bool:
    """Whether it is no plain file: something that may come bit by bit."""
    try:
        return not stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _files(paths: Iterable[str]) -> bool:
    """Whether all can be read again and again, as a screen has to. What is missing is told when
    it is opened."""
    return all(path != "-" and (os.path.isfile(path) or not os.path.exists(path)) for path in paths)


def _shown(words: str) -> str:
    from smtpscope.display import text

    return text(words, 200)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """What can't be written, as JSON spells it: JSON stays JSON."""
    import json

    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def run(arguments: list[str]) -> int:
    """Run the command line with these arguments; the exit status."""
    if hasattr(sys.stdout, "reconfigure"):
        # A terminal that is not UTF-8 gets what it can show, and no traceback.
        codecs.register_error("spell", _spelled)
        sys.stdout.reconfigure(errors="spell")
    try:
        status: int | None = cli.main(arguments, prog_name="smtpscope", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except SmtpscopeError as error:
        tell(str(error))
        return error.exit_status
    except OSError as error:
        tell(error.strerror or str(error))
        return 1
    return status or 0
