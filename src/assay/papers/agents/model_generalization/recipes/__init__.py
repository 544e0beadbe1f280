"""How it is run, one module a recipe."""
