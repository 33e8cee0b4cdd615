"""What an API key of Immich looks like: somebody may have put one where it does not belong.

Immich makes 32 random bytes Base64 and drops what is no letter or digit: 38 to 43 are left, capitals, small
letters and digits. Hashes in hexadecimal, ids and names are none.
"""

import re

_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z])(?=[A-Za-z]*[0-9])[A-Za-z0-9]{36,44}(?![A-Za-z0-9])",
    re.ASCII,
)
HIDDEN = "***"


def holds_key(text: str) -> bool:
    """Whether something in `text` looks like a key."""
    return _KEY.search(text) is not None


def without_keys(text: str) -> str:
    """`text` with *** in the place of whatever looks like a key."""
    return _KEY.sub(HIDDEN, text)
