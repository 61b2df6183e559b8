"""What figures are made of: a session's variant, who spoke before a message, who is named in it, and their indices."""

import json

import sqlalchemy as sa
from alembic import op

from heist.store.mentions import named

revision = "0004"
down_revision = "0003"

_PREVIOUS = """
    UPDATE messages SET previous = (
        SELECT before.agent_name FROM messages AS before
        WHERE before.session_id = messages.session_id AND before.turn_id < messages.turn_id
        ORDER BY before.turn_id DESC LIMIT 1
    )
"""
_BEGUN = sa.text("SELECT seq FROM events WHERE kind = 'session.started'")
_BEGIN = sa.text("SELECT session_id, body FROM events WHERE seq = :seq")
_SAID = sa.text("SELECT turn_id, agent_name, message FROM messages WHERE session_id = :session_id")
_NAME = sa.text("INSERT INTO mentions VALUES (:session_id, :agent_name, :named, :turn_id)")
_SPOKEN = ["agent_name", "previous", "prompt_tokens", "completion_tokens", "milliseconds"]
_CALLED = ["tool_name", "agent_name", "success", "fault", "milliseconds"]
_FAILED = sa.text("kind = 'message.failed'")
_INSIDE = sa.text("session_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("variant", sa.String(64)))
    op.add_column("messages", sa.Column("previous", sa.String(64)))
    op.create_table(
        "mentions",
        sa.Column("session_id", sa.String(64), sa.ForeignKey("sessions.session_id"), primary_key=True),
        sa.Column("agent_name", sa.String(64), primary_key=True),
        sa.Column("named", sa.String(64), primary_key=True),
        sa.Column("turn_id", sa.Integer, primary_key=True, autoincrement=False),
    )
    op.execute(_PREVIOUS)
    _name()
    op.create_index("messages_of_session", "messages", ["session_id", *_SPOKEN])
    op.create_index("messages_by_agent", "messages", _SPOKEN)
    op.create_index("mentions_by_agent", "mentions", ["agent_name", "named"])
    op.create_index("tool_usage_of_session", "tool_usage", ["session_id", *_CALLED])
    op.create_index("tool_usage_by_tool", "tool_usage", _CALLED, sqlite_where=_INSIDE, postgresql_where=_INSIDE)
    op.create_index("events_of_failure", "events", ["session_id"], sqlite_where=_FAILED, postgresql_where=_FAILED)


def _name() -> None:
    """Reads through what was said so far; a session at a time, since all of it may be more than memory holds."""
    connection = op.get_bind()
    for (seq,) in connection.execute(_BEGUN).all():
        session_id, body = connection.execute(_BEGIN, {"seq": seq}).one()
        crew = [seat["name"] for seat in json.loads(body).get("seats", ())]
        rows = [
            {"session_id": session_id, "turn_id": turn, "named": name, "agent_name": agent}
            for turn, agent, text in connection.execute(_SAID, {"session_id": session_id})
            for name in named(text, crew, agent)
        ]
        if rows:
            connection.execute(_NAME, rows)


def downgrade() -> None:
    op.drop_index("events_of_failure", "events")
    for index in ("tool_usage_by_tool", "tool_usage_of_session"):
        op.drop_index(index, "tool_usage")
    for index in ("messages_by_agent", "messages_of_session"):
        op.drop_index(index, "messages")
    op.drop_table("mentions")
    op.drop_column("messages", "previous")
    op.drop_column("sessions", "variant")
