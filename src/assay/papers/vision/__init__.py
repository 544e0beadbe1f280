"""Papers on vision, and what several of them need."""
