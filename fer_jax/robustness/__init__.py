"""Measuring and breaking robustness: masking, smoothing, corruptions, the table, hacks."""
