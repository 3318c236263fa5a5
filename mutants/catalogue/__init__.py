"""All mutants, by what they touch."""

from typing import Final

from mutants.catalogue.books import BOOKS
from mutants.catalogue.choices import CHOICES
from mutants.catalogue.launches import LAUNCHES
from mutants.catalogue.listings import LISTINGS
from mutants.catalogue.offers import OFFERS
from mutants.catalogue.replicas import REPLICAS
from mutants.catalogue.restarts import RESTARTS
from mutants.catalogue.terminations import TERMINATIONS
from mutants.catalogue.waits import WAITS
from mutants.mutant import Mutant

ALL: Final[tuple[Mutant, ...]] = (
    *LAUNCHES,
    *LISTINGS,
    *TERMINATIONS,
    *CHOICES,
    *OFFERS,
    *WAITS,
    *RESTARTS,
    *REPLICAS,
    *BOOKS,
)
