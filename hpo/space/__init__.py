"""What a study searches: domains, spaces, and their form in a study file."""

from hpo.space.domains import Choice, Domain, Float, Int
from hpo.space.space import Space
from hpo.space.table import read, write

__all__ = ["Choice", "Domain", "Float", "Int", "Space", "read", "write"]
