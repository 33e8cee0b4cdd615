"""What runs a model: the contract first (protocol.py), then this machine's OpenVINO (openvino.py)."""
