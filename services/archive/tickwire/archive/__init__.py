"""The archive: what is on the tape, in Parquet files, each day with a certificate."""
