"""Papers on privacy, and what several of them need."""
