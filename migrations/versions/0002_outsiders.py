"""Clients from outside, revoked tokens, and events that belong to no session."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for table in ("events", "tool_usage"):
        with op.batch_alter_table(table) as batch:
            batch.alter_column("session_id", existing_type=sa.String(64), nullable=True)
    op.create_table(
        "clients",
        sa.Column("client_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("disabled_at", sa.String(32)),
    )
    active = sa.text("disabled_at IS NULL")
    op.create_index("clients_by_name", "clients", ["name"], unique=True, sqlite_where=active, postgresql_where=active)
    op.create_table(
        "revocations",
        sa.Column("jti", sa.String(64), primary_key=True),
        sa.Column("expires", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("revocations")
    op.drop_table("clients")
    op.execute("DELETE FROM tool_usage WHERE session_id IS NULL")
    op.execute("DELETE FROM events WHERE session_id IS NULL")
    for table in ("events", "tool_usage"):
        with op.batch_alter_table(table) as batch:
            batch.alter_column("session_id", existing_type=sa.String(64), nullable=False)
