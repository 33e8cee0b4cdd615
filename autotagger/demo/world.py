"""What every route works with: one server's dialect, store, jobs, searches, pictures and keys."""

import random
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from autotagger.demo.jobs import Jobs
from autotagger.demo.library import ME, Library
from autotagger.demo.previews import MediaCache
from autotagger.demo.removals import Removals
from autotagger.demo.search import Searcher
from autotagger.demo.store import Store
from autotagger.demo.wire import Dialect

ALL = "all"
KEY_CHARACTERS = string.ascii_letters + string.digits
KEY_LENGTH = 43


@dataclass(frozen=True, slots=True)
class Key:
    """An API key, what it may do, and the id of the user whom it belongs to."""

    id: str
    secret: str = field(repr=False)
    permissions: tuple[str, ...]
    created_ms: int
    user: str = ME

    def may(self, permission: str) -> bool:
        return ALL in self.permissions or permission in self.permissions


@dataclass(slots=True)
class World:
    """State of one stand-in.

    `preview_after`: a preview that comes later is made after so many 404s; None: not by asking.
    `webp_previews`: the admin chose WebP for previews, which Immich allows. `tags_enabled`: the user's own switch
    for the tags feature, which only decides what Immich's pages show.
    """

    library: Library
    dialect: Dialect
    store: Store
    jobs: Jobs
    removals: Removals
    preview_after: int | None
    webp_previews: bool
    tags_enabled: bool = True
    searcher: Searcher = field(init=False)
    media: MediaCache = field(default_factory=MediaCache)
    keys: dict[str, Key] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.searcher = Searcher(self.store, self.dialect)

    def add_key(self, permissions: Iterable[str], user: str = ME) -> Key:
        source = random.Random(f"{self.library.seed}/{len(self.keys)}")
        secret = "".join(source.choices(KEY_CHARACTERS, k=KEY_LENGTH))
        key = Key(self.store.new_id(), secret, tuple(permissions), self.store.now_ms(), user)
        self.keys[secret] = key
        return key
