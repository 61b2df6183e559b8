"""The log of events, sessions, messages and tool usage."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.String(64), primary_key=True),
        sa.Column("start_time", sa.String(32), nullable=False),
        sa.Column("end_time", sa.String(32)),
        sa.Column("num_turns", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("crew", sa.String(200), nullable=False),
        sa.Column("scenario", sa.String(200), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("rounds", sa.Integer, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("server", sa.String(200), nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("process", sa.Integer, nullable=False),
    )
    op.create_index("sessions_by_start", "sessions", ["start_time"])
    op.create_index("sessions_by_status", "sessions", ["status"])
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("session_id", sa.String(64), sa.ForeignKey("sessions.session_id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("events_by_session", "events", ["session_id", "seq"])
    op.create_table(
        "messages",
        sa.Column("session_id", sa.String(64), sa.ForeignKey("sessions.session_id"), primary_key=True),
        sa.Column("turn_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("agent_name", sa.String(64), nullable=False),
        sa.Column("agent_role", sa.String(200), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("timestamp", sa.String(32), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("tokens_estimated", sa.Boolean, nullable=False),
        sa.Column("milliseconds", sa.Float, nullable=False),
    )
    op.create_table(
        "tool_usage",
        sa.Column("seq", sa.Integer, sa.ForeignKey("events.seq"), primary_key=True, autoincrement=False),
        sa.Column("session_id", sa.String(64), sa.ForeignKey("sessions.session_id"), nullable=False),
        sa.Column("turn_id", sa.Integer),
        sa.Column("agent_name", sa.String(64), nullable=False),
        sa.Column("tool_name", sa.String(64), nullable=False),
        sa.Column("tool_params", sa.Text, nullable=False),
        sa.Column("tool_result", sa.Text, nullable=False),
        sa.Column("timestamp", sa.String(32), nullable=False),
        sa.Column("success", sa.Boolean, nullable=False),
        sa.Column("fault", sa.String(16)),
        sa.Column("form", sa.String(8), nullable=False),
        sa.Column("milliseconds", sa.Float, nullable=False),
    )
    op.create_index("tool_usage_by_session", "tool_usage", ["session_id", "turn_id", "agent_name"])


def downgrade() -> None:
    for table in ("tool_usage", "messages", "events", "sessions"):
        op.drop_table(table)
