"""What is taken for a picture or a video by its name, in folders that are looked through."""

#: Lower case, with the dot. A file that is named is tried whatever it is called.
PICTURES = frozenset(
    {".apng", ".avif", ".bmp", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".png"}
    | {".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
VIDEOS = frozenset(
    {".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"}
)
