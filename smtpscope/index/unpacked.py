"""Plain copies of compressed captures: of these alone single packets can be read again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from smtpscope.capture.source import GZIP, ZSTD, Source
from smtpscope.errors import SmtpscopeError

BLOCK = 4 << 20


def is_compressed(capture: Path) -> bool:
    """Whether packets can't be read from it as it is. Raises OSError."""
    with open(capture, "rb") as file:
        return file.read(4).startswith((GZIP, ZSTD))


def unpack(capture: Path, plain: Path, limit: int, cancelled: Callable[[], bool]) -> None:
    """Write the content of a compressed capture to `plain`: 0600, whole or not at all.

    A capture that is cut short or damaged is unpacked as far as it goes. Raises `SmtpscopeError`
    where it has more than `limit` octets, where there is no room, and where it was `cancelled`.
    """
    part = plain.with_name(f"{plain.name}-{os.getpid()}")
    source = Source(capture)
    try:
        source.decompress()
        descriptor = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            while block := source.read(BLOCK):
                if cancelled():
                    raise SmtpscopeError("cancelled")
                if out.tell() + len(block) > limit:
                    raise SmtpscopeError(
                        f"{capture.name} has more than {limit:,} octets: unpack it yourself and"
                        " open that, or set a larger cache_size in config.toml"
                    )
                out.write(block)
        part.replace(plain)
    except OSError as error:
        raise SmtpscopeError(
            f"{capture.name} cannot be unpacked ({error.strerror or error}): unpack it yourself"
            " where there is room, and open that"
        ) from None
    finally:
        source.close()
        part.unlink(missing_ok=True)
