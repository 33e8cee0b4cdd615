"""How a run shows itself: health, metrics, systemd, and the log lines that sum it up.

Read in this order: `run` (a run with all of this around it), `observer` (looks at the run), `health` (is it
healthy?), `pace` and `words` (its speed and its summary), `notify` (systemd), `metrics`, `http` and `doorkeeper`
(Prometheus and `/health`, and who may ask) and `ask` (the client of `/health`).
"""
