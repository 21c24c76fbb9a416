"""The simulated venues: one module or folder for each, which defines `VENUE`. `directory.py` finds them."""
