"""Everything that relies on privates of ccxt 4.5.90 or changes what it does. No other module does either.

| module | what it changes or relies on | fails when ccxt changes |
|---|---|---|
| `lazy_packages` | exchanges are imported when they are first named | tests/exchange/test_ccxt_import.py |
| `rest_traps` | bad answers raise, `Retry-After` is kept, 403 and 451 are final | tests/exchange/test_opening.py |
| `market_loading` | markets are parsed in a thread | tests/exchange/test_market_loading.py |
| `exact_json` | integers keep every digit | tests/exchange/test_ccxt_patches.py |
| `monotonic_time` | throttlers and marks of sockets use the monotonic clock | tests/exchange/test_ccxt_patches.py |
| `socket_hooks` | data is taken from a Client before anything awaits it | tests/subscriptions/test_hooks.py |
| `observed_exchange` | an exchange class reports what it does to its sockets | tests/exchange/test_ccxt_patches.py |
| `caches` | subscriptions and caches are read, and forgotten on resubscription | tests/exchange/test_ccxt_patches.py |
| `stream_places` | places in the account of streams per socket are released | tests/exchange/test_ccxt_patches.py |

ccxt is pinned exactly. Names of ccxt that are used without being changed stand in `tickwire.exchange.ccxt_types`.
"""
