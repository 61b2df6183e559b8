"""A session says which variant it is of."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("variant", sa.String(64)))


def downgrade() -> None:
    op.drop_column("sessions", "variant")
