"""The page: shows what runs and what is kept, and sends the requests of its buttons. Owns no state."""
