"""Tunegate: one fine-tuning job spec, every place that could run it."""
