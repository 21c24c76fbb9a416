"""How facts are written: tables, charts, JSON, encodings."""
