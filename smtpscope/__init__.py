"""smtpscope: session recorder and protocol analyzer for SMTP."""

__version__ = "0.1.0"
