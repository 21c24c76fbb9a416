"""Exchanges on loopback: a deterministic market behind the protocols of Binance and OKX, with faults on command."""
