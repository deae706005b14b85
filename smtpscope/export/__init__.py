"""What the decoder found, written down: text and JSON lines."""
