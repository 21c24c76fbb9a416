"""Writes dashboards/tickwire.json: `python deploy/grafana/make_dashboard.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "dashboards" / "tickwire.json"
SELECTED = '{exchange=~"$exchange"}'

# Title, unit, and what is drawn: expression and legend of each line. Rows have a title only.
PANELS: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("Feeds", "", []),
    ("Feeds by state", "short", [("sum by (state) (tickwire_feeds)", "{{state}}")]),
    (
        "Items on the tape a second",
        "ops",
        [(f"sum by (kind) (rate(tickwire_feed_items_total{SELECTED}[1m]))", "{{kind}}")],
    ),
    (
        "Receipt to tape, p50 and p99",
        "s",
        [
            (f"histogram_quantile({q}, sum by (le) (rate(tickwire_feed_publish_lag_seconds_bucket{SELECTED}[5m])))", name)
            for q, name in (("0.5", "p50"), ("0.99", "p99"))
        ],
    ),
    (
        "Exchange to receipt, p50 and p99",
        "s",
        [
            (f"histogram_quantile({q}, sum by (le) (rate(tickwire_feed_receipt_lag_seconds_bucket{SELECTED}[5m])))", name)
            for q, name in (("0.5", "p50"), ("0.99", "p99"))
        ],
    ),
    (
        "Reconnects, gaps, rejected",
        "short",
        [
            (f"sum by (exchange) (increase(tickwire_feed_{what}_total{SELECTED}[5m]))", f"{what} {{{{exchange}}}}")
            for what in ("reconnects", "gaps", "rejected")
        ],
    ),
    (
        "Repaired, repeated, conflated a second",
        "ops",
        [
            (f"sum(rate(tickwire_feed_{what}_total{SELECTED}[1m]))", what)
            for what in ("repaired", "duplicates", "conflated")
        ],
    ),
    (
        "Quiet for the longest time",
        "s",
        [(f"topk(5, time() - tickwire_feed_last_message_timestamp_seconds{SELECTED})", "{{kind}} {{exchange}} {{symbol}}")],
    ),
    (
        "What waits",
        "short",
        [
            (f"topk(5, tickwire_feed_waiting{SELECTED})", "{{kind}} {{exchange}} {{symbol}}"),
            ("topk(5, tickwire_tape_in_flight)", "in flight {{stream}}"),
            ("topk(5, increase(tickwire_tape_resent_total[5m]))", "sent again in 5 minutes {{stream}}"),
            ("sum by (stream) (tickwire_sink_pending_messages)", "sink {{stream}}"),
            ("max by (stream) (tickwire_stream_messages)", "stream {{stream}}"),
        ],
    ),
    ("History", "", []),
    ("Jobs", "short", [("sum by (exchange) (tickwire_fetcher_jobs_taken)", "taken {{exchange}}"), ("sum by (exchange) (tickwire_fetcher_jobs_running)", "running {{exchange}}")]),
    ("Jobs ended in 5 minutes", "short", [("sum by (state) (increase(tickwire_fetcher_jobs_ended_total[5m]))", "{{state}}")]),
    (
        "Audits in an hour",
        "short",
        [
            ("sum(increase(tickwire_cache_audits_requested_total[1h]))", "requested"),
            ("sum by (exchange) (increase(tickwire_fetcher_audited_rows_total[1h]))", "rows {{exchange}}"),
            ("sum by (exchange) (increase(tickwire_fetcher_audit_differences_total[1h]))", "differences {{exchange}}"),
            ("sum(increase(tickwire_cache_archived_rows_compared_total[1h]))", "rows, archived trades"),
            ("sum by (comparable) (increase(tickwire_cache_archived_differences_total[1h]))", "differences, archived trades: {{comparable}}"),
        ],
    ),
    ("Candles a second", "ops", [("sum(rate(tickwire_fetcher_rows_total[1m]))", "fetched"), ("sum(rate(tickwire_cache_rows_total[1m]))", "durable")]),
    (
        "Requests to exchanges",
        "ops",
        [
            ("sum by (exchange) (rate(tickwire_fetcher_exchange_request_seconds_count[1m]))", "{{exchange}}"),
            ("sum by (exchange, error) (rate(tickwire_fetcher_exchange_failures_total[1m]))", "{{exchange}} {{error}}"),
            ("sum by (exchange) (rate(tickwire_fetcher_retries_total[1m]))", "repeated {{exchange}}"),
            ("sum by (exchange) (rate(tickwire_fetcher_rejected_rows_total[1m]))", "rows rejected {{exchange}}"),
        ],
    ),
    (
        "Commit and sync of the cache, p99",
        "s",
        [
            ("histogram_quantile(0.99, sum by (le) (rate(tickwire_cache_commit_seconds_bucket[5m])))", "commit"),
            ("histogram_quantile(0.99, sum by (le) (rate(tickwire_cache_sync_seconds_bucket[5m])))", "sync"),
        ],
    ),
    ("Cache: queued, written a second", "bytes", [("sum(tickwire_cache_queued_bytes)", "queued"), ("sum(rate(tickwire_cache_written_bytes_total[1m]))", "written")]),
    ("Cannot be stored", "short", [("sum(tickwire_cache_troubled_partitions)", "partitions"), ("sum(increase(tickwire_cache_pages_refused_total[5m]))", "pages refused")]),
    ("Sink", "", []),
    ("Written a second", "ops", [("sum(rate(tickwire_sink_points_total[1m]))", "points"), ("sum(rate(tickwire_sink_trades_total[1m]))", "trades")]),
    ("Failed, refused, missed", "short", [("sum(increase(tickwire_sink_failed_writes_total[5m]))", "failed writes"), ("sum(increase(tickwire_sink_rejected_points_total[5m]))", "refused points"), ("sum(increase(tickwire_sink_missed_total[5m]))", "missed")]),
    ("Time of a write, p99", "s", [("histogram_quantile(0.99, sum by (le) (rate(tickwire_sink_write_seconds_bucket[5m])))", "p99")]),
    ("Archive", "", []),
    ("Rows written a second", "ops", [("sum(rate(tickwire_archive_rows_total[1m]))", "rows"), ("sum(rate(tickwire_archive_parts_total[1m]))", "parts"), ("sum by (source) (rate(tickwire_archive_added_rows_total[1m]))", "rows of {{source}}")]),
    ("Days certified, failed", "short", [("sum by (condition) (increase(tickwire_archive_days_total[1d]))", "{{condition}}"), ("sum(increase(tickwire_archive_failed_days_total[1d]))", "failed")]),
    ("Days removed, failed", "short", [("sum(increase(tickwire_archive_removed_days_total[1d]))", "days"), ("sum(increase(tickwire_archive_failed_removals_total[1d]))", "failed")]),
    ("Bytes removed", "bytes", [("sum(increase(tickwire_archive_removed_bytes_total[1d]))", "bytes")]),
    ("Waits to be archived", "short", [("sum(tickwire_archive_waiting_rows)", "rows in memory"), ("max by (stream) (tickwire_archive_pending_messages)", "messages {{stream}}"), ("sum(increase(tickwire_archive_failed_writes_total[5m]))", "failed writes")]),
    ("Time to write a part, p99", "s", [("histogram_quantile(0.99, sum by (le) (rate(tickwire_archive_write_seconds_bucket[5m])))", "p99")]),
    ("Page", "", []),
    ("Tabs, and what is read for them", "short", [("sum(tickwire_web_tabs)", "tabs"), ("sum(tickwire_web_things)", "things")]),
    ("Requests, values sent and skipped a second", "ops", [("sum by (status) (rate(tickwire_web_requests_total[1m]))", "requests {{status}}"), ("sum(rate(tickwire_web_frames_total[1m]))", "values"), ("sum(rate(tickwire_web_frames_skipped_total[1m]))", "skipped")]),
    ("Sent to tabs", "Bps", [("sum(rate(tickwire_web_frame_bytes_total[1m]))", "bytes")]),
    ("Processes", "", []),
    ("Free of the folder's disk", "percentunit", [("min by (service, instance) (tickwire_disk_free_bytes / tickwire_disk_size_bytes)", "{{service}} {{instance}}")]),
    ("Instances ready", "short", [("sum by (service) (up{job=\"tickwire\"})", "{{service}}")]),
    ("Leases held", "short", [("tickwire_leases_held", "{{service}} {{instance}}")]),
    ("Leases gained, given up, lost", "short", [("sum by (service, change) (increase(tickwire_lease_changes_total[5m]))", "{{service}} {{change}}")]),
    ("Longest stall of the event loop, p99", "s", [("histogram_quantile(0.99, sum by (le, service) (rate(tickwire_loop_stall_seconds_bucket[5m])))", "{{service}}"), ("histogram_quantile(0.99, sum by (le, service) (rate(tickwire_loop_stall_cpu_seconds_bucket[5m])))", "CPU {{service}}")]),
    ("Time to answer, p99", "s", [("histogram_quantile(0.99, sum by (le, endpoint) (rate(tickwire_request_seconds_bucket[5m])))", "{{endpoint}}")]),
    ("Requests refused", "short", [("sum by (endpoint, error) (increase(tickwire_requests_refused_total[5m]))", "{{endpoint}} {{error}}")]),
    ("Messages skipped", "short", [("sum by (service, subject) (increase(tickwire_undecodable_messages_total[5m]))", "{{service}} {{subject}}")]),
    ("Broker", "short", [("min by (service) (tickwire_broker_connected)", "connected {{service}}"), ("sum by (service) (increase(tickwire_broker_reconnects_total[5m]))", "reconnects {{service}}")]),
    ("To and from the broker", "Bps", [("sum by (service, direction) (rate(tickwire_broker_bytes_total[1m]))", "{{service}} {{direction}}")]),
    ("CPU", "percentunit", [("sum by (service, instance) (rate(process_cpu_seconds_total{job=\"tickwire\"}[1m]))", "{{service}} {{instance}}")]),
    ("Memory", "bytes", [("process_resident_memory_bytes{job=\"tickwire\"}", "{{service}} {{instance}}")]),
]  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana wants it: three panels in a row, each 8 of 24 units wide."""
    panels: list[dict[str, Any]] = []
    x = y = 0
    source = {"type": "prometheus", "uid": "prometheus"}
    for number, (title, unit, lines) in enumerate(PANELS, 1):
        if not lines:
            y, x = y + (8 if x else 0), 0
            panels.append({"id": number, "type": "row", "title": title, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
            y += 1
            continue
        panels.append(
            {
                "id": number,
                "type": "timeseries",
                "title": title,
                "datasource": source,
                "gridPos": {"h": 8, "w": 8, "x": x, "y": y},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend, "datasource": source}
                    for place, (expression, legend) in enumerate(lines)
                ],
            }
        )
        x, y = (0, y + 8) if x == 16 else (x + 8, y)
    exchange = {
        "name": "exchange",
        "type": "query",
        "datasource": source,
        "query": "label_values(tickwire_feed_items_total, exchange)",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }
    return {
        "uid": "tickwire",
        "title": "tickwire",
        "schemaVersion": 41,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [exchange]},
        "panels": panels,
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(dashboard(), indent=1) + "\n")
