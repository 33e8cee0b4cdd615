"""Scores to tag names. All that depends on a label alone is worked out once; a picture costs microseconds.

The rules, in the order in which they apply:
1. what is blacklisted, not whitelisted, or the marker never becomes a tag, however it comes up;
2. thresholds: per tag, else MCut where the category has it, else per category; the likeliest rating;
3. `min_tags` takes what is nearest below its threshold; `top` takes the best of a category;
4. what a kept tag implies, and a character's series, join it;
5. what a kept tag hides goes; `max_tags` takes the best of all.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autotagger.meaning import meaning_of_label
from autotagger.policy.decision import UNDECIDED, Decision, Rule
from autotagger.policy.naming import colliding, name_labels
from autotagger.policy.patterns import Patterns
from autotagger.policy.relations import (
    COPYRIGHT,
    Label,
    closure,
    extended,
    overlaps,
    rows_of,
    series_of,
)
from autotagger.policy.thresholds import RATING, as_stored, check_categories, mcut, resolve
from autotagger.scores import SparseScores
from autotagger.settings import PolicySettings

#: Part of a policy's identity: raise it when the same names and thresholds would give other tags.
_RULES_VERSION = 2

# Plain numbers for the arrays: a member of an enumeration costs a look-up on every use.
_PASSED, _LIKELIEST, _MINIMUM = int(Rule.PASSED), int(Rule.LIKELIEST), int(Rule.MINIMUM)
_LOW, _UNLIKELIER, _HIDDEN = int(Rule.LOW), int(Rule.UNLIKELIER), int(Rule.HIDDEN)
_BEYOND_TOP, _BEYOND_MAX = int(Rule.BEYOND_TOP), int(Rule.BEYOND_MAX)


class TagPolicy:
    """The tags of a picture by its scores. The same scores give the same tags in the same order.

    With nothing set: general and other tags whose score is at least (`>=`) their category's threshold, and the
    likeliest rating as `rating:<name>`.

    `labels`: (name, category); the model's, and behind them what is only ever implied.
    `names`: the tags that each of them becomes.
    `always`: rows of the rating labels, to be passed to `scores.pack`; the likeliest can only be told when
    every candidate is there.
    `identity`: SHA-256 in hex over all that decides the outcome; equal identities give equal tags.
    `collisions`: labels whose names come out the same, by that name; the better score counts.
    """

    labels: Sequence[Label]
    names: Sequence[tuple[str, ...]]
    always: NDArray[np.intp]
    identity: str
    collisions: Mapping[str, tuple[str, ...]]

    def __init__(
        self,
        labels: Sequence[Label],
        settings: PolicySettings,
        defaults: Mapping[str, float],
        marker: str,
        series: Mapping[str, Sequence[str]] | None = None,
        label_defaults: Mapping[Label, float] | None = None,
    ) -> None:
        """`labels`: (name, category) in the order of the scores. `defaults`: the model's own thresholds.

        `marker`: never among the tags. `series`: the series of characters, where the model's files know them;
        goes before the brackets of a name. `label_defaults`: the model's own thresholds of single labels; a
        threshold of the settings goes before them. Raises BadConfig for a setting that does not fit the model.
        """
        labels = [(name, category) for name, category in labels]
        known = {category for _, category in labels} | set(defaults)
        check_categories("policy.mcut", settings.mcut, known - {RATING})
        check_categories("policy.top", settings.top, known - {RATING})
        check_categories("policy.template", settings.template, known | {RATING, COPYRIGHT})
        from_series = {**series_of(labels), **(series or {})} if settings.series else {}
        names_of_series = [name for names in from_series.values() for name in names]
        self.labels = extended(labels, settings.implies, names_of_series)
        self.names = name_labels(self.labels, settings, marker)
        self._settings = settings
        self._scored = len(labels)
        self._categories = np.array([category for _, category in self.labels], dtype=object)
        self._is_rating: NDArray[np.bool_] = self._categories == RATING
        floors = as_stored(list(settings.mcut.values())).tolist()
        self._floors = dict(zip(settings.mcut, floors, strict=True))
        self._members = {name: self._categories == name for name in (*settings.mcut, *settings.top)}
        self._standing = _standing(self.labels, self.names, settings, marker)
        self._limits, self._own_limit = _limits(labels, settings, defaults, label_defaults or {})
        self._adds, self._adding = _additions(self.labels, settings, from_series, self._standing)
        self._hides, self._hiding = _hidings(self.labels, settings)
        self.always = np.flatnonzero(self._is_rating)
        self.collisions = colliding(self.labels, self.names, (self._standing == Rule.PASSED).tolist())
        self.identity = self._fingerprint(marker)

    @property
    def possible(self) -> frozenset[str]:
        """Every name that a picture could get."""
        rows = np.flatnonzero(self._standing == _PASSED).tolist()
        return frozenset(name for row in rows for name in self.names[row])

    @cached_property
    def meanings(self) -> Mapping[str, frozenset[str]]:
        """By every name that a picture could get, what it means: the labels that become it."""
        found: dict[str, set[str]] = {}
        for label, names in zip(self.labels, self.names, strict=True):
            for name in names:
                found.setdefault(name, set()).add(meaning_of_label(*label))
        return {name: frozenset(meanings) for name, meanings in found.items()}

    def tags(self, scores: SparseScores) -> tuple[str, ...]:
        """The final names, each once, best score first; of equal scores the one higher up in the label file.

        Raises ValueError when the scores name a row that the model does not have: they are another model's.
        """
        return self.tags_of(self.decide(scores))

    def tags_of(self, decision: Decision) -> tuple[str, ...]:
        """The final names of what was decided."""
        names = self.names
        return tuple(dict.fromkeys(name for row in decision.rows[decision.kept].tolist() for name in names[row]))

    def decide(self, scores: SparseScores) -> Decision:
        """Which scores become tags, and why. Raises ValueError for another model's scores."""
        decision = self._begin(scores)
        self._apply_ratings(decision)
        self._apply_counts(decision)
        if self._adds:
            self._apply_additions(decision)
        if self._hides:
            self._apply_hidings(decision)
        if most := self._settings.max_tags:
            counted = np.flatnonzero(decision.kept & ~self._is_rating[decision.rows])
            decision.rules[counted[most:]] = _BEYOND_MAX
        return decision

    def _begin(self, scores: SparseScores) -> Decision:
        rows, values = scores.labels.astype(np.intp), scores.values
        if len(rows) and int(rows.max()) >= self._scored:
            raise ValueError(f"scores name label {int(rows.max())} of {self._scored}: they are another model's")
        order = np.lexsort((rows, -values))
        rows, values = rows[order], values[order]
        limits = self._limits[rows]
        for category, floor in self._floors.items():
            members = self._members[category][rows]
            limits[members & ~self._own_limit[rows]] = mcut(values[members], floor)
        rules = self._standing[rows]
        rules[(rules == _PASSED) & (values < limits)] = _LOW
        return Decision(rows, values, values.copy(), limits, rules, np.full(len(rows), -1, np.intp))

    def _apply_ratings(self, decision: Decision) -> None:
        if self._settings.rating_by == "threshold":
            return
        ratings = np.flatnonzero(self._is_rating[decision.rows])
        best, others = ratings[:1], ratings[1:]
        decision.rules[best[decision.rules[best] == _PASSED]] = _LIKELIEST
        decision.rules[others[decision.rules[others] <= _LOW]] = _UNLIKELIER

    def _apply_counts(self, decision: Decision) -> None:
        if least := self._settings.min_tags:
            counted = ~self._is_rating[decision.rows]
            missing = least - int((decision.kept & counted).sum())
            low = np.flatnonzero((decision.rules == _LOW) & counted)
            if missing > 0 and len(low):
                nearest = np.argsort(-decision.scores[low] / decision.limits[low], kind="stable")
                decision.rules[low[nearest[:missing]]] = _MINIMUM
        for category, most in self._settings.top.items():
            members = np.flatnonzero(decision.kept & self._members[category][decision.rows])
            decision.rules[members[most:]] = _BEYOND_TOP

    def _apply_additions(self, decision: Decision) -> None:
        sources = np.flatnonzero(decision.kept & self._adding[decision.rows])
        if not len(sources):
            return
        rows = decision.rows.tolist()
        fresh: dict[int, tuple[float, int, int]] = {}
        for place in sources.tolist():
            for target, source, rule in self._adds[rows[place]]:
                if target in fresh:
                    continue  # by a better tag, or there anyway
                weight = float(decision.weights[place])
                if target not in rows:
                    fresh[target] = (weight, rule, source)
                elif decision.rules[there := rows.index(target)] in UNDECIDED:
                    decision.rules[there], decision.because[there] = rule, source
                    decision.weights[there] = max(weight, float(decision.weights[there]))
        decision.add(fresh)

    def _apply_hidings(self, decision: Decision) -> None:
        sources = decision.rows[decision.kept & self._hiding[decision.rows]].tolist()
        if not sources:
            return
        hidden = {target: source for source in reversed(sources) for target in self._hides[source]}
        for place in np.flatnonzero(decision.kept).tolist():
            source = hidden.get(int(decision.rows[place]))
            if source is not None:
                decision.rules[place], decision.because[place] = _HIDDEN, source

    def _fingerprint(self, marker: str) -> str:
        settings = self._settings
        deciding = [
            _RULES_VERSION,
            marker,
            [category for _, category in self.labels],
            self.names,
            self._limits.tolist(),
            self._own_limit.tolist(),
            self._standing.tolist(),
            settings.model_dump(include={"mcut", "top", "min_tags", "max_tags", "rating_by", "vocabulary"}),
            sorted(self._adds.items()),
            sorted(self._hides.items()),
        ]
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def _standing(
    labels: Sequence[Label], names: Sequence[tuple[str, ...]], settings: PolicySettings, marker: str
) -> NDArray[np.uint8]:
    """What is settled of each label before any score is known: PASSED, or the rule that keeps it out."""
    banned, wanted = Patterns(settings.blacklist), Patterns(settings.whitelist)

    def standing(label: str, category: str, tags: tuple[str, ...]) -> Rule:
        if marker in tags:
            return Rule.MARKER
        if banned.matches(label, category, tags):
            return Rule.BLACKLISTED
        if category == RATING:
            return Rule.PASSED if settings.rating else Rule.NO_RATINGS
        return Rule.PASSED if not wanted or wanted.matches(label, category, tags) else Rule.NOT_WHITELISTED

    return np.array([standing(*label, tags) for label, tags in zip(labels, names, strict=True)], np.uint8)


def _limits(
    labels: Sequence[Label],
    settings: PolicySettings,
    defaults: Mapping[str, float],
    label_defaults: Mapping[Label, float],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The lowest score of each label that passes, and whether the settings say it of the label itself."""
    by_category = resolve({category for _, category in labels}, settings.threshold, defaults)
    single = [(Patterns([pattern]), limit) for pattern, limit in settings.tag_threshold.items()]
    limits, own = [], []
    for label, category in labels:
        fitting = [limit for patterns, limit in single if patterns.matches(label, category, ())]
        limit = by_category[category]
        if category not in settings.threshold:
            limit = label_defaults.get((label, category), limit)
        limits.append(fitting[-1] if fitting else limit)
        own.append(bool(fitting))
    return as_stored(limits), np.array(own, dtype=bool)


def _additions(
    labels: Sequence[Label],
    settings: PolicySettings,
    series: Mapping[str, Sequence[str]],
    standing: NDArray[np.uint8],
) -> tuple[dict[int, list[tuple[int, int, int]]], NDArray[np.bool_]]:
    """By row of a tag, what comes with it: (its row, the row that says so, the rule); and which rows these are."""
    implied = rows_of("implies", settings.implies, labels)
    of_series = rows_of("series", series, labels, among=COPYRIGHT)
    both = {row: (*implied.get(row, ()), *of_series.get(row, ())) for row in {*implied, *of_series}}
    adding = np.zeros(len(labels), dtype=bool)
    adding[list(both)] = True
    return {
        row: [
            (target, source, Rule.IMPLIED if target in implied.get(source, ()) else Rule.SERIES)
            for target, source in closure(both, row)
            if standing[target] == Rule.PASSED
        ]
        for row in both
    }, adding


def _hidings(
    labels: Sequence[Label], settings: PolicySettings
) -> tuple[dict[int, tuple[int, ...]], NDArray[np.bool_]]:
    """By row of a tag, the rows that it hides; and which rows these are."""
    table = {name: tuple(targets) for name, targets in settings.hides.items()}
    if settings.drop_overlapping:
        for name, targets in overlaps(labels).items():
            # The user's word goes before: what hides others by the table is never hidden for its words.
            more = (target for target in targets if target not in settings.hides)
            table[name] = tuple(dict.fromkeys((*table.get(name, ()), *more)))
    hides = rows_of("hides", table, labels)
    hiding = np.zeros(len(labels), dtype=bool)
    hiding[list(hides)] = True
    return hides, hiding
