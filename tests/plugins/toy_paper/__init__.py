"""An entry from another package: a coin whose bias the arms set, to test the checker with known truth."""
