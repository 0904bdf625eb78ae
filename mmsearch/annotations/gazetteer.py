"""A position in, the names of the place out: from a list of towns that comes with an optional package.

The package reads its list when it is asked first: 1.2 s of CPU and 200 MB, once a process.
"""

from __future__ import annotations

import csv
import math
from functools import cache
from types import ModuleType

_CITY = 100_000  # people
_TOWN_KM, _CITY_KM, _COUNTRY_KM = 30, 15, 100
_EARTH_KM = 6371.0


def named(latitude: float, longitude: float) -> tuple[str, ...] | None:
    """Return the nearest town, the large city that it is near to, its region and its country, in English.

    What is too far away is left out: nothing is near to a position at sea. The nearest town is that by degrees,
    which far from the equator is not always that by the way.

    Parameters
    ----------
    latitude, longitude : float
        Degrees, WGS 84.

    Returns
    -------
    tuple of str or None
        Each name once; None where the package, `pip install 'mmsearch[places]'`, is not installed.
    """
    package = _package()
    if package is None:
        return None
    here = latitude, longitude
    town, city = package.get(here), package.get(here, _CITY)
    to_town, to_city = (_distance_km(here, (place["latitude"], place["longitude"])) for place in (town, city))
    names = (
        town["city"] if to_town <= _TOWN_KM else "",
        city["city"] if to_city <= _CITY_KM else "",
        *((town.get("state", ""), town["country"]) if to_town <= _COUNTRY_KM else ()),
    )
    return tuple(dict.fromkeys(filter(None, names)))


@cache
def _package() -> ModuleType | None:
    limit = csv.field_size_limit()
    try:
        import reverse_geocode
    except ImportError:
        return None
    finally:
        csv.field_size_limit(limit)  # it takes the limit away for the whole process
    package: ModuleType = reverse_geocode
    return package


def _distance_km(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Return the length of the way over a sphere, by the haversine formula."""
    (north, east), (other_north, other_east) = (map(math.radians, place) for place in (here, there))
    half = math.sin((other_north - north) / 2) ** 2
    half += math.cos(north) * math.cos(other_north) * math.sin((other_east - east) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(1.0, half)))
