"""Measuring on this machine: the model alone, the whole pipeline, and what each stage costs."""
