"""How emulated fine-tuning is run, a recipe a module. Those of one seed share trained models."""
