"""OKX's spot market and perpetual contracts: REST endpoints, channels and the dialect of their sockets."""
