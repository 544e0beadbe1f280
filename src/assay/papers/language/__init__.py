"""Papers on language, and what several of them need."""
