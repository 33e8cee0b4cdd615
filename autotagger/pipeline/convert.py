"""What the ledger keeps of an asset of Immich: the only place that makes one of the other."""

from autotagger.immich.types import Asset
from autotagger.ledger.rows import ListedAsset

#: Characters kept of a file name (which is for messages only) and of what should be ids and other short words.
MAX_NAME, MAX_WORD = 255, 64


def listed_asset(asset: Asset, *, ready: bool = True) -> ListedAsset:
    """The ledger's row of an asset. `ready`: Immich is done with the upload.

    A picture that lasts (GIF, WebP, APNG) is an animation, whatever Immich calls it.
    """
    return ListedAsset(
        asset_id=asset.id,
        owner_id=asset.owner_id[:MAX_WORD],
        library_id=(asset.library_id or "")[:MAX_WORD],
        kind="ANIMATION" if asset.kind == "IMAGE" and asset.duration_ms else asset.kind,
        mime=asset.mime and asset.mime[:MAX_WORD],
        file_name=asset.file_name[:MAX_NAME],
        checksum=asset.checksum[:MAX_WORD],
        updated_ms=asset.updated_ms,
        thumbhash=asset.thumbhash and asset.thumbhash[:MAX_WORD],
        ready=ready,
    )
