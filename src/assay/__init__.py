"""assay tests what papers claim, and hands their methods over as ordinary PyTorch."""
