"""The index of captures: what lists, sorts, filters and statistics need of each session, in SQLite.

A cache, never the truth: `store` keeps the files, `writer` fills one in a process of its own,
`views` reads it, and anything odd in it has it made again.
"""
