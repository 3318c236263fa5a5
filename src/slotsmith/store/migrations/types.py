"""Types of columns that several revisions use. What a database that exists has must not change with them."""

from __future__ import annotations

import sqlalchemy as sa

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text, in the order of its bytes, whatever language the database was made for."""
