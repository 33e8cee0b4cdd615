"""What a tag means, whatever it is spelt like: the label that it stands for.

A person's removal is of a meaning (docs/immich.md, law 16): who took `simple background` off a picture does not
want `Simple Background` or `auto/simple background` there after the next retag.
"""


def meaning_of_label(name: str, category: str) -> str:
    """The meaning of a model's label. Models that share a label share its meaning; letters' case and underscores
    do not count, and ratings of all models have one form."""
    plain = name.casefold().replace("_", " ").strip()
    return f"rating:{plain}" if category == "rating" and not plain.startswith("rating:") else plain


def meaning_of_tag(tag: str) -> str:
    """The meaning of a tag of which nobody wrote down the label: its last part, as a label."""
    return meaning_of_label(tag.rpartition("/")[2], "")
