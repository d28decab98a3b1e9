"""A synthetic world with known truth, written in the formats of real data."""

from dualflux.twin.facts import world_facts
from dualflux.twin.files import write_world
from dualflux.twin.world import World, WorldSettings, build_world

__all__ = ["World", "WorldSettings", "build_world", "world_facts", "write_world"]
