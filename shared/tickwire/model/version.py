"""The version of tickwire: that of pyproject.toml, from the installed package."""

from importlib.metadata import version

VERSION = version("tickwire")
