"""From the scores of a picture to the names of its tags, and from those to as few calls as the server needs."""
