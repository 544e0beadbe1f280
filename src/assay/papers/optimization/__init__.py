"""Papers on optimization, and what several of them need."""
