"""Configurations as TOML files; `rdd train --list` shows them."""
