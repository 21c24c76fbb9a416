"""Who wants which feed, and what each feed works with and reports."""
