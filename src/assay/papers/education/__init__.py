"""Papers on education, and what several of them need."""
