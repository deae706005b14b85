"""Draws README's picture again: what `smtpscope read` shows of a bundled capture (needs rich)."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.text import Text

from smtpscope.export.text import lines
from smtpscope.reading import read_sessions

HERE = Path(__file__).parent
CAPTURE = HERE.parent.parent / "captures" / "exim-swaks-greylisted.pcap"
WIDTH = 118


def main() -> None:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), legacy_windows=False)
    refused, _ = read_sessions(CAPTURE)
    for line in lines(refused, width=WIDTH, colour=True):
        console.print(Text.from_ansi(line), soft_wrap=True)
    title = f"smtpscope read {CAPTURE.name}"
    (HERE / "review.svg").write_text(console.export_svg(title=title))


if __name__ == "__main__":
    main()
