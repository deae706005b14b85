"""The terminal UI: reads captures through the index, and shows them with Textual."""
