"""Papers on distillation, and what several of them need."""
