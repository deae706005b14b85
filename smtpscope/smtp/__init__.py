"""The SMTP protocol, sans-I/O, on the standard library alone."""
