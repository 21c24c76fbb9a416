"""Everything that relies on privates of ccxt 4.5.90 or changes what it does. No other module does either.

Each module names the reason for its patch and, if there is one, the upstream issue. Two kinds of test fail when ccxt
changes: tests/exchange/test_ccxt_unpatched.py, for all modules, when ccxt no longer does what a patch changes, so that
the patch can go; and the test in the table when the patch no longer works.

| module | what it changes or relies on | test |
|---|---|---|
| `lazy_packages` | exchanges are imported when they are first named | tests/exchange/test_ccxt_import.py |
| `deferred_requests` | ccxt's base class is imported without requests | tests/exchange/test_ccxt_import.py |
| `rest_traps` | bad answers raise, `Retry-After` is kept, 403 and 451 are final | tests/exchange/test_opening.py |
| `venue_order` | trades of one timestamp stay in the venue's order | tests/exchange/test_venue_order.py |
| `market_loading` | markets are parsed in a thread | tests/exchange/test_market_loading.py |
| `exact_json` | integers keep every digit | tests/exchange/test_ccxt_patches.py |
| `exact_integers` | integers keep every digit where ccxt uses them | tests/exchange/test_exact_integers.py |
| `monotonic_time` | throttlers and marks of sockets use the monotonic clock | tests/exchange/test_ccxt_patches.py |
| `socket_hooks` | data is taken from a Client before anything awaits it | tests/subscriptions/test_hooks.py |
| `combined_requests` | requests to subscribe are combined | tests/subscriptions/test_combined_requests.py |
| `observed_exchange` | an exchange class reports what it does to its sockets | tests/exchange/test_ccxt_patches.py |
| `socket_urls` | a socket's URL that contains a token is dropped with it | tests/exchange/test_socket_urls.py |
| `caches` | subscriptions and caches are read, and forgotten on resubscription | tests/exchange/test_ccxt_patches.py |
| `stream_places` | places in the account of streams per socket are released | tests/exchange/test_ccxt_patches.py |

ccxt is pinned exactly. Names of ccxt that are used without being changed stand in `tickwire.exchange.ccxt_types`.
"""
