"""From packets to byte streams: capture files, headers, reassembly, TLS records."""
