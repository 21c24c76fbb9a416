"""Bars of any kind from columns of trades: by time, volume, number of trades or quote amount. No I/O.

    bars = Fold(VolumeRule(100))
    for timestamps, prices, amounts in batches:
        bars.take(timestamps, prices, amounts)
    print(bars.result().close)

| module | contents |
|---|---|
| `fixed.py` | sums of decimal numbers in integers |
| `rules.py` | which bar a trade belongs to |
| `fold.py` | the values of bars |
"""

from tickwire.bars.fold import Bars, Fold
from tickwire.bars.rules import QuoteRule, Rule, TickRule, TimeRule, VolumeRule, rule_of

__all__ = ["Bars", "Fold", "QuoteRule", "Rule", "TickRule", "TimeRule", "VolumeRule", "rule_of"]
