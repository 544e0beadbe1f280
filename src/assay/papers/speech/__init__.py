"""Papers on speech, and what several of them need."""
