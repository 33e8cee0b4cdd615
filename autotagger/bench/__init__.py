"""Measuring on this machine: what the model could do alone, what the whole pipeline does, and what each stage costs."""
