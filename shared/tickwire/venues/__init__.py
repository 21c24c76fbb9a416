"""What is known of each venue: pure facts, no I/O, used by fetcher, streamer, cache and simulator alike."""
