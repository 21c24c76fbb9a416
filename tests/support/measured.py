"""What a test measured: said at the end of the run, by whichever process it ran in.

A test gives it to pytest's `record_property` under this name.
"""

MEASURED = "measured"
