"""Recorders append packets to a recording, in processes of their own, and decode nothing.

`sniff` takes them from network interfaces, `pipe` from a capture that another program writes.
Who starts one writes a task to its standard input and reads its answers (see `owner`).
"""
