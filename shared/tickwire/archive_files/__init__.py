"""Files of the archive: where they are, what they mean, how they are written and read. No broker.

Needs pyarrow (extra `archive`), except `layout`, `file_meta` and `certificate`. All I/O blocks: call it in a thread.
"""
