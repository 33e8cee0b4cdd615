"""Crops, rotations and mirrorings over HTTP: `/assets/{id}/edits`."""

from typing import Any

from aiohttp import web

from autotagger.demo.edits import Crop, Edit, Mirror, Rotate, fits
from autotagger.demo.gate import Route, Visit
from autotagger.demo.store import Row
from autotagger.demo.validation import MISSING, Checker, Path
from autotagger.demo.wire import ApiError, Json, json_response
from autotagger.demo.world import World

ACTIONS = ("crop", "rotate", "mirror")
ANGLES = (0, 90, 180, 270)


async def edit_asset(world: World, visit: Visit) -> web.Response:
    """Replace an asset's edits. Raises ApiError (400) for none, and for a crop that leaves the picture."""
    check = Checker(world.dialect)
    given = visit.body.get("edits", MISSING)
    if not isinstance(given, list) or not given:
        check.custom("Too small: expected array to have >=1 items", ["edits"])
        given = []
    edits = [edit for index, item in enumerate(given) if (edit := _edit(check, item, ["edits", index]))]
    row = _row(world, visit, check, "asset.edit.create")
    if row.spec.media.kind != "IMAGE" or row.spec.media.duration_ms:
        raise ApiError(400, "Only images can be edited")
    if not fits(row.spec.media, edits):
        raise ApiError(400, "Crop parameters are out of bounds")
    _set(world, row, tuple(edits))
    return json_response(_told(world, row))


async def edits_of(world: World, visit: Visit) -> web.Response:
    return json_response(_told(world, _row(world, visit, Checker(world.dialect), "asset.edit.get")))


async def unedit_asset(world: World, visit: Visit) -> web.Response:
    """Show the picture as it was uploaded."""
    _set(world, _row(world, visit, Checker(world.dialect), "asset.edit.delete"), ())
    return web.Response(status=204)


ROUTES = (
    Route("GET", "/api/assets/{id}/edits", "edits", "asset.edit.get", edits_of),
    Route("PUT", "/api/assets/{id}/edits", "edit_asset", "asset.edit.create", edit_asset),
    Route("DELETE", "/api/assets/{id}/edits", "unedit_asset", "asset.edit.delete", unedit_asset),
)


def _row(world: World, visit: Visit, check: Checker, permission: str) -> Row:
    """The asset of the path, if it is the user's, after all complaints have been made."""
    asset_id = check.uuid(visit.request.match_info["id"], ["id"])
    check.finish()
    found = world.store.writable([str(asset_id)], visit.user)
    if not found:
        raise ApiError(400, f"Not found or no {permission} access")
    return found[0]


def _set(world: World, row: Row, edits: tuple[Edit, ...]) -> None:
    row.edits = edits
    world.store.touch(row)
    world.jobs.make_preview(row)


def _edit(check: Checker, item: Any, path: Path) -> Edit | None:
    fields = item if isinstance(item, dict) else {}
    action = check.choice(fields.get("action", MISSING), [*path, "action"], ACTIONS)
    given = fields.get("parameters")
    given = given if isinstance(given, dict) else {}
    where = [*path, "parameters"]
    if action == "crop":
        numbers = {
            name: check.integer(given.get(name, MISSING), [*where, name], least, None)
            for name, least in (("x", 0), ("y", 0), ("width", 1), ("height", 1))
        }
        return Crop(**{name: number or 0 for name, number in numbers.items()})
    if action == "rotate":
        angle = given.get("angle", MISSING)
        if angle in ANGLES:
            return Rotate(int(angle))
        check.custom("Invalid angle", [*where, "angle"])
    if action == "mirror":
        axis = check.choice(given.get("axis", MISSING), [*where, "axis"], ("horizontal", "vertical"))
        return Mirror(axis) if axis else None
    return None


def _told(world: World, row: Row) -> Json:
    return {"assetId": row.id, "edits": [_told_edit(world, edit) for edit in row.edits]}


def _told_edit(world: World, edit: Edit) -> Json:
    action = type(edit).__name__.lower()
    parameters = {name: getattr(edit, name) for name in type(edit).__dataclass_fields__}
    return {"id": world.store.new_id(), "action": action, "parameters": parameters}
