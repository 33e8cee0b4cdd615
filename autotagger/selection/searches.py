"""Which searches find the candidates: as few as there can be, each as narrow as Immich makes it."""

from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

from autotagger.selection.rules import UPLOADS, Rules

#: Keys are combined in one search as long as there are no more searches than this: each is one call at least.
MAX_SEARCHES = 16


class Term(NamedTuple):
    """What all that a search finds has: an album, a person, a tag or a library, by id."""

    key: Literal["albums", "people", "tags", "libraries"]
    id: str


Terms = tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """`searches` together find every candidate, and `covered` are the keys that they see to; of every term in
    `listings` the members are listed besides, to be looked up in."""

    searches: tuple[Terms, ...]
    covered: frozenset[str]
    listings: tuple[Term, ...]

    @property
    def narrow(self) -> bool:
        """Whether the searches leave anything out."""
        return self.searches != ((),)


def plan_searches(rules: Rules) -> SearchPlan:
    """The searches for the candidates of `rules`. Keys with few values come first: one album, then its people."""
    groups: list[Terms] = []
    listings: list[Term] = []
    for key in ("albums", "people", "tags"):
        rule = getattr(rules, key)
        if rule.wanted is not None:
            groups.append(tuple(Term(key, one) for one in sorted(rule.wanted)))
        listings += [Term(key, one) for one in sorted(rule.unwanted)]
    libraries = rules.libraries.wanted
    if libraries is not None and UPLOADS not in libraries:
        groups.append(tuple(Term("libraries", one) for one in sorted(libraries)))
    searches: tuple[Terms, ...] = ((),)
    covered: set[str] = set()
    for group in sorted(groups, key=len):
        if not group:
            return SearchPlan((), frozenset(), ())  # everything that is wanted is excluded, too
        if covered and len(searches) * len(group) > MAX_SEARCHES:
            listings += [term for term in group if term.key != "libraries"]  # a listing tells the library
            continue
        searches = tuple((*terms, term) for terms, term in product(searches, group))
        covered.add(group[0].key)
    return SearchPlan(searches, frozenset(covered), tuple(listings))
