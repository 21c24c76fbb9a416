"""The version of tickwire: that of the installed package, which is the tag it was built from."""

import re
from importlib.metadata import version

VERSION = version("tickwire")


def semantic(text: str) -> str:
    """The release of a Python version (PEP 440) as three numbers, as NATS services state theirs: `1.2.3`."""
    numbers = re.match(r"(?:\d+!)?(\d+(?:\.\d+)*)", text)
    assert numbers is not None
    return ".".join([*numbers[1].split("."), "0", "0"][:3])
