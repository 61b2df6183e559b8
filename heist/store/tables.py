"""The tables: the log of events, what is sealed, the plain tables that people query, the clients from outside."""

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text, text

metadata = MetaData()


def _session() -> Column[str]:
    """NULL for what happened outside of every session."""
    return Column("session_id", String(64), ForeignKey("sessions.session_id"))


sessions = Table(
    "sessions",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("start_time", String(32), nullable=False),
    Column("end_time", String(32)),
    Column("num_turns", Integer, nullable=False),
    Column("status", String(16), nullable=False),  # running, paused, completed, stopped, failed
    Column("crew", String(200), nullable=False),
    Column("scenario", String(200), nullable=False),
    Column("title", String(200), nullable=False),
    Column("rounds", Integer, nullable=False),
    Column("model", String(200), nullable=False),
    Column("server", String(200), nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("process", Integer, nullable=False),
    Column("variant", String(64)),  # NULL where nothing is compared
    Index("sessions_by_start", "start_time"),
    Index("sessions_by_status", "status"),
)

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    _session(),
    Column("kind", String(32), nullable=False),
    Column("at", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Index("events_by_session", "session_id", "seq"),
    Index(
        "events_of_failure",
        "session_id",
        sqlite_where=text("kind = 'message.failed'"),
        postgresql_where=text("kind = 'message.failed'"),
    ),
)

sealed = Table(
    "sealed",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("session_id", String(64), ForeignKey("sessions.session_id"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("at", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Index("sealed_by_session", "session_id", "number"),
)

games = Table(
    "games",
    metadata,
    Column("session_id", String(64), ForeignKey("sessions.session_id"), primary_key=True),
    Column("revealed_at", String(32), nullable=False),
    Column("arm", String(16), nullable=False),  # mole, none, placebo, incompetent
    Column("strategy", String(64)),  # NULL where there was no mole
    Column("holder", String(64)),  # who carried the arm's own brief
    Column("guess", String(64)),  # NULL: nobody was accused
    Column("result", String(8), nullable=False),  # SUCCESS, FAILURE, BUSTED
    Column("outcome", String(8), nullable=False),  # clean, messy, empty, busted
    Column("score", Float, nullable=False),
    Column("reference", Float, nullable=False),
    Column("damage", Float),  # the holder's share of what is missing to the reference
)

_SPOKEN = ("agent_name", "previous", "prompt_tokens", "completion_tokens", "milliseconds")
_CALLED = ("tool_name", "agent_name", "success", "fault", "milliseconds")
"""What figures are made of: an index that covers it by session, and one over all, so that counting reads no row."""

messages = Table(
    "messages",
    metadata,
    Column("session_id", String(64), ForeignKey("sessions.session_id"), primary_key=True),
    Column("turn_id", Integer, primary_key=True, autoincrement=False),
    Column("agent_name", String(64), nullable=False),
    Column("agent_role", String(200), nullable=False),
    Column("message", Text, nullable=False),
    Column("timestamp", String(32), nullable=False),
    Column("round", Integer, nullable=False),
    Column("model", String(200), nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("tokens_estimated", Boolean, nullable=False),
    Column("milliseconds", Float, nullable=False),
    Column("previous", String(64)),  # who spoke before, NULL in the first message
    Index("messages_of_session", "session_id", *_SPOKEN),
    Index("messages_by_agent", *_SPOKEN),
)

mentions = Table(
    "mentions",
    metadata,
    Column("session_id", String(64), ForeignKey("sessions.session_id"), primary_key=True),
    Column("agent_name", String(64), primary_key=True),
    Column("named", String(64), primary_key=True),
    Column("turn_id", Integer, primary_key=True, autoincrement=False),
    Index("mentions_by_agent", "agent_name", "named"),
)

tool_usage = Table(
    "tool_usage",
    metadata,
    Column("seq", Integer, ForeignKey("events.seq"), primary_key=True, autoincrement=False),
    _session(),
    Column("turn_id", Integer),  # NULL: called over HTTP or MCP, outside of a turn
    Column("agent_name", String(64), nullable=False),
    Column("tool_name", String(64), nullable=False),
    Column("tool_params", Text, nullable=False),  # JSON
    Column("tool_result", Text, nullable=False),
    Column("timestamp", String(32), nullable=False),
    Column("success", Boolean, nullable=False),
    Column("fault", String(16)),  # NULL, arguments, scope, token, unknown, service
    Column("form", String(8), nullable=False),  # native, text, http, mcp
    Column("milliseconds", Float, nullable=False),
    Index("tool_usage_by_session", "session_id", "turn_id", "agent_name"),
    Index("tool_usage_of_session", "session_id", *_CALLED),
    Index(
        "tool_usage_by_tool",
        *_CALLED,
        sqlite_where=text("session_id IS NOT NULL"),
        postgresql_where=text("session_id IS NOT NULL"),
    ),
)

clients = Table(
    "clients",
    metadata,
    Column("client_id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("secret_hash", String(64), nullable=False),  # SHA-256, hexadecimal
    Column("scopes", Text, nullable=False),  # separated by blanks
    Column("created_at", String(32), nullable=False),
    Column("disabled_at", String(32)),
    Index(
        "clients_by_name",
        "name",
        unique=True,
        sqlite_where=text("disabled_at IS NULL"),
        postgresql_where=text("disabled_at IS NULL"),
    ),
)

revocations = Table(
    "revocations",
    metadata,
    Column("jti", String(64), primary_key=True),
    Column("expires", Integer, nullable=False),  # seconds since 1970, as in the token
)
