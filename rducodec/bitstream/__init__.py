"""Bytes in, fields out: prefix, header, sections, limits, digests (spec, "Container" and "Header")."""
