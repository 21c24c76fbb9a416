"""Exchanges on loopback: a deterministic market behind the protocols of many venues, with faults on command."""
