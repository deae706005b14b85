"""The server's half of SMTP, sans-I/O: settings in, replies and actions out.

`responder` beside this package drives it; the modules here each own one concept of a server.
"""
