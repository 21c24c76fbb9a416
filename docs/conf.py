"""Sphinx' settings of the site that `make docs` builds. Nothing in it is loaded from elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from reference_pages import written  # noqa: E402
from tickwire.model.version import VERSION  # noqa: E402

project = "tickwire"
version = release = VERSION
copyright = "the authors of tickwire, Apache-2.0"  # noqa: A001
html_title = "tickwire"
html_theme = "furo"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}
extensions = ["myst_parser"]
exclude_patterns = ["reference_pages", "schemas"]
# As GitHub names headings, so that a link works here and there.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
pygments_style = "friendly"
pygments_dark_style = "github-dark"
# A block of output or of a configuration is no program: a lexer that fails at it is no fault.
suppress_warnings = ["misc.highlighting_failure"]


def setup(app: Any) -> None:
    """Write the pages that are made from code before Sphinx looks for pages."""
    app.connect("builder-inited", lambda app: written(Path(app.srcdir) / "reference"))
