"""The version of tickwire, as pyproject.toml has it."""

from importlib.metadata import version

VERSION = version("tickwire")
