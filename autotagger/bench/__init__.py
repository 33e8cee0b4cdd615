"""Measurements on this machine: the model alone, the whole pipeline, and the cost of each stage.

Read in this order: `measure` (all measurements, in rounds), `workload`, `labels`, `pictures` and `server` (what
is measured with), `session`, `openvino`, `pipeline` and `stages` (one measurement each), `apart` and
`processes` (how), `report` (the result) and `tune` (the best use of the cores).
"""
