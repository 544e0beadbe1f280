"""Papers on theory, and what several of them need."""
