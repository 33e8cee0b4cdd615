"""Measurements on this machine: the model alone, decoding alone, and the whole pipeline.

Read in this order: `measure` (all measurements, in rounds), `workload`, `labels`, `pictures` and `server` (what
is measured with), `decoding`, `openvino` and `pipeline` (one measurement each), `watch` and `processes` (what
it costs), `report` (the result) and `tune` (the best use of the cores).
"""
