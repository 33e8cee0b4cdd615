"""What runs a model.

Read in this order: `protocol` (the contract: prepared pictures in, scores out) and `openvino` (this machine).
"""
