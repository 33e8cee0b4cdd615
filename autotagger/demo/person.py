"""The hands of a person who uses Immich while autotagger works: uploads, edits, tags, trash, duplicates."""

from dataclasses import replace

from autotagger.demo.drawing import THEMES
from autotagger.demo.edits import Edit
from autotagger.demo.files import jpeg
from autotagger.demo.jobs import Jobs
from autotagger.demo.library import AssetSpec, Media, Preview
from autotagger.demo.store import Row, Store


class Person:
    """What a person does in Immich, on the database and with the jobs that follow. `StandIn` is one."""

    store: Store
    jobs: Jobs

    def upload(
        self,
        media: Media | None = None,
        *,
        file_name: str | None = None,
        file_created_ms: int | None = None,
        **special: object,
    ) -> str:
        """Add an asset; its metadata and preview come with the jobs that this starts. Answers its id.

        `special`: other fields of AssetSpec (`owner_id`, `library_id`, `visibility`, `preview`...).
        """
        number = len(self.store.rows)
        media = media or jpeg(number, (320, 240), THEMES[number % len(THEMES)])
        now_ms = self.store.now_ms()
        spec = AssetSpec(
            id=self.store.new_id(),
            media=media,
            file_name=file_name or f"upload-{number}{media.suffix}",
            file_created_ms=now_ms if file_created_ms is None else file_created_ms,
            created_ms=now_ms,
        )
        row = self.store.add(replace(spec, **special))  # type: ignore[arg-type]
        row.updated_ms = now_ms
        row.extracted = False
        row.preview = Preview.LATER
        self.jobs.refresh(row)
        self.jobs.make_preview(row)
        return spec.id

    def replace_file(self, asset_id: str, media: Media) -> None:
        """Put another file behind an asset, with the jobs that follow: checksum and thumbhash are others then."""
        row = self.store.rows[asset_id]
        row.spec = replace(row.spec, media=media)
        row.updated_ms = self.store.now_ms()
        row.edits = ()
        row.preview = Preview.LATER
        self.jobs.refresh(row)
        self.jobs.make_preview(row)

    def trash(self, asset_id: str) -> None:
        row = self.store.rows[asset_id]
        row.deleted_ms = self.store.now_ms()
        self.store.reshape(row)

    def restore(self, asset_id: str) -> None:
        """Take an asset out of the trash."""
        row = self.store.rows[asset_id]
        row.deleted_ms = None
        self.store.reshape(row)

    def set_visibility(self, asset_id: str, visibility: str) -> None:
        """timeline, archive, hidden or locked."""
        row = self.store.rows[asset_id]
        row.visibility = visibility
        self.store.reshape(row)

    def put_into_album(self, asset_id: str, name: str) -> None:
        """Put an asset into an album of its owner, which is made where it is new."""
        row = self.store.rows[asset_id]
        row.albums.add(self.store.album(name, row.spec.owner_id))
        self.store.versions.shape += 1  # the asset itself is not written

    def take_out_of_album(self, asset_id: str, name: str) -> None:
        row = self.store.rows[asset_id]
        row.albums.discard(self.store.album(name, row.spec.owner_id))
        self.store.versions.shape += 1  # the asset itself is not written

    def make_favorite(self, asset_id: str, favorite: bool = True) -> None:
        row = self.store.rows[asset_id]
        row.favorite = favorite
        self.store.reshape(row)

    def remove(self, asset_id: str) -> None:
        """Delete an asset for good."""
        self.store.remove(self.store.rows[asset_id])

    def tag(self, asset_id: str, *values: str) -> None:
        """Tag by hand, in one call, with the jobs that follow."""
        row = self.store.rows[asset_id]
        if self.store.link(row, [tag.id for tag in self.store.upsert(values, row.spec.owner_id)]):
            self.jobs.links_changed(row)

    def untag(self, asset_id: str, *values: str, sidecar: bool = True) -> None:
        """Take tags off by hand, in one go, with the jobs that follow.

        `sidecar` False: as in the tags explorer, without a job: the next metadata job brings them back (law 15).
        """
        row = self.store.rows[asset_id]
        own = self.store.tags_of(row.spec.owner_id)
        self.store.unlink(row, [own[value].id for value in values])
        if sidecar:
            self.jobs.links_changed(row)

    def edit(self, asset_id: str, *edits: Edit) -> None:
        """Crop, rotate or mirror a picture, in place of all edits before (none: as it was), with the job that
        makes its preview and thumbhash anew (law 19)."""
        row = self.store.rows[asset_id]
        row.edits = edits
        self.store.touch(row)
        self.jobs.make_preview(row)

    def resolve_duplicates(self, keep: str, *others: str) -> None:
        """Keep one picture: it gets the tags of the others (ours and the marker too), which go to the trash."""
        kept = self.store.rows[keep]
        rows = [self.store.rows[asset_id] for asset_id in others]
        if self.store.link(kept, {tag_id for row in rows for tag_id in row.tags}):
            self.jobs.links_changed(kept)
        for row in rows:
            self.trash(row.id)

    def reimport(self, *asset_ids: str, with_xmp: bool = True) -> dict[str, str]:
        """Delete assets (all when none is named) and import their files again: other ids, the same checksums.

        Answers the new ids by the old ones.

        `with_xmp`: the .xmp files came along, and the metadata job that this starts reads the tags from there.
        """
        return {row.id: self._imported_again(row, with_xmp) for row in self._rows(asset_ids)}

    def _imported_again(self, old: Row, with_xmp: bool) -> str:
        now_ms = self.store.now_ms()
        spec = replace(
            old.spec,
            id=self.store.new_id(),
            content=old.spec.content or old.id,
            created_ms=now_ms,
            visibility="timeline",
            trashed=False,
        )
        self.store.remove(old)
        row = self.store.add(spec)
        row.updated_ms = now_ms
        row.extracted = False
        row.xmp = old.xmp if with_xmp else None
        row.preview = Preview.LATER
        self.jobs.refresh(row)
        self.jobs.make_preview(row)
        return row.id

    def delete_tag(self, value: str) -> None:
        """Delete a tag and what is below it; no job follows (law 8). Raises KeyError for an unknown one."""
        self.store.delete_tag(self.store.tags_by_value[value])

    def clean_up_tags(self) -> int:
        """Immich's nightly removal of tags without assets. Answers how many went."""
        return self.store.delete_empty_tags()

    def refresh_metadata(self, *asset_ids: str) -> None:
        """Read the .xmp files anew (of all assets when none is named): deleted tags come back from there."""
        for row in self._rows(asset_ids):
            self.jobs.refresh(row)

    def generate_previews(self, *asset_ids: str) -> None:
        """Start the jobs that make the previews that were to come later; `settle` sees them done."""
        for row in self._rows(asset_ids):
            if row.preview is Preview.LATER:
                self.jobs.make_preview(row)

    def _rows(self, asset_ids: tuple[str, ...]) -> list[Row]:
        return (
            [self.store.rows[asset_id] for asset_id in asset_ids] if asset_ids else list(self.store.rows.values())
        )
