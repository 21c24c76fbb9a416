"""Facts about an exchange that ccxt has and tickwire does not know: docs/adding-a-venue.md says which there are."""

from tickwire.venues.profile import CandleFacts, Profile

PROFILE = Profile(
    exchanges=("p2b",),
    # ccxt 4.5.90, `p2b.fetch_ohlcv`: no `since` is in the request, so the newest candles come, whatever is asked.
    candles=CandleFacts(since="ignored"),
)
