"""A sample of assets that depends on nothing but their ids: the same ones in every run."""


def is_sampled(asset_id: str, share: float) -> bool:
    """Whether an asset (by its UUID) belongs to a sample of this `share` (0 to 1) of all assets."""
    return int(asset_id[:8], 16) < share * 0x1_0000_0000
