"""From the bytes of a picture to the scores of a model's labels."""
