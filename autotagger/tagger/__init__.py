"""From the bytes of a picture to the scores of a model's labels.

Read in this order: `manifest` (all there is to know about a model), `labels`, `model`, `catalog` (a name or
folder to a model), `hub` (downloads), `preprocess` (bytes to a tensor), `video` (frames of a video), `engine`
(tensors to scores), `combine` (the scores of several frames) and `checkup` (does a model work here?). `guess`,
`author_files` and `onnxfile` read the files of unknown models, `weights` keeps large files out of memory,
`cores` counts what the machine allows.
"""
