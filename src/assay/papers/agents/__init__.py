"""Papers on agents, and what several of them need."""
