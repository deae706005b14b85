"""What smtpscope raises at its user. Every message is one line that says what to do next.

Nothing observed on the wire ever raises: malformed traffic becomes a defect, not an error.
"""


class SmtpscopeError(Exception):
    """An error for the user: the command line prints its text and leaves with `exit_status`."""

    exit_status = 1


class UsageError(SmtpscopeError):
    """The command was given something that it cannot use."""

    exit_status = 2


class NoCaptureError(SmtpscopeError):
    """The input is missing, unreadable, or no capture file."""

    exit_status = 5


class RecordingError(SmtpscopeError):
    """A recording can't be begun or go on. What was recorded until then is whole."""
