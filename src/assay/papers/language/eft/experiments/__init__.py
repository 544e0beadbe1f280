"""The experiments, one module each; `recipe` names them."""
