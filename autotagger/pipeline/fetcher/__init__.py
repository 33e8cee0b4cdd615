"""The process that lists the library and downloads pictures.

Read in this order: `fetcher` (the process), `lister` (listing the library) and `videos` (what is downloaded of
a video).
"""
