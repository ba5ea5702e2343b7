"""The `rdd` command: parse, call, print. Everything else is in `rducodec`."""
