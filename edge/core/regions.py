"""What there is to say of regions: their types, and by the station's scale their sizes in mm."""

from __future__ import annotations

from collections.abc import Sequence

from edge.core.types import Record, Region


class SizedRegion(Record, frozen=True, omit_defaults=True):
    """A `Region` as it goes on record: with what its box and its cells measure on the part.

    None where the station has no scale.
    """

    x: int
    y: int
    width: int
    height: int
    area_px: int
    peak: float
    type: str = ""
    width_mm: float | None = None
    height_mm: float | None = None
    area_mm2: float | None = None


def sized(regions: Sequence[Region], mm_per_px: float) -> tuple[SizedRegion, ...]:
    """Regions with their sizes, to six digits; mm_per_px: 0 where there is no scale."""
    return tuple(_sized(one, mm_per_px) for one in regions)


def _sized(one: Region, mm_per_px: float) -> SizedRegion:
    known = one.x, one.y, one.width, one.height, one.area_px, one.peak, one.type
    if not mm_per_px:
        return SizedRegion(*known)
    sizes = one.width * mm_per_px, one.height * mm_per_px, one.area_px * mm_per_px**2
    return SizedRegion(*known, *(float(f"{size:.6g}") for size in sizes))


def types_of(regions: Sequence[Region]) -> tuple[str, ...]:
    """The type of each region in its place, "" unknown; none at all where no region has one."""
    return tuple(one.type for one in regions) if any(one.type for one in regions) else ()


def label(region: SizedRegion) -> str:
    """A region's type and area, in ASCII: "short 1280 px, 3.2 mm2"."""
    size = "" if region.area_mm2 is None else f", {short(region.area_mm2)} mm2"
    return f"{region.type} {region.area_px} px{size}".lstrip()


def described(region: SizedRegion) -> str:
    """A region in a line for a person: its type, where it is, how large, how far over."""
    place = f"at {region.x}, {region.y}: {region.width} x {region.height} px"
    if region.width_mm is not None and region.height_mm is not None:
        place += f" ({short(region.width_mm)} x {short(region.height_mm)} mm)"
    area = f"area {region.area_px} px"
    if region.area_mm2 is not None:
        area += f" ({short(region.area_mm2)} mm2)"
    return f"{region.type} {place}, {area}, peak {region.peak:.4f}".lstrip()


def short(value: float) -> str:
    """A size for a person: three digits, but every one before the point."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
