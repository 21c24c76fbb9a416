"""What is assumed of a venue of which nothing was declared: nothing."""

from __future__ import annotations

from tickwire.venues.profile import Profile

PROFILE = Profile(exchanges=())
