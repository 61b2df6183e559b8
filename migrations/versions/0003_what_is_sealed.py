"""What is sealed gets rows of its own, the seed of a session among it; games that are over get a table."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_STARTED = sa.text(
    "SELECT seq, events.session_id, at, body, seed FROM events JOIN sessions USING (session_id) "
    "WHERE kind = 'session.started'"
)
_BEGUN = sa.text("SELECT seq, session_id, body FROM events WHERE kind = 'session.started'")
_SEAL = sa.text("INSERT INTO sealed (session_id, kind, at, body) VALUES (:session_id, 'mole.assigned', :at, :body)")
_REWRITE = sa.text("UPDATE events SET body = :body WHERE seq = :seq")


def _json(body: dict[str, object]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def upgrade() -> None:
    op.create_table(
        "sealed",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("session_id", sa.String(64), sa.ForeignKey("sessions.session_id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("sealed_by_session", "sealed", ["session_id", "number"])
    op.create_table(
        "games",
        sa.Column("session_id", sa.String(64), sa.ForeignKey("sessions.session_id"), primary_key=True),
        sa.Column("revealed_at", sa.String(32), nullable=False),
        sa.Column("arm", sa.String(16), nullable=False),
        sa.Column("strategy", sa.String(64)),
        sa.Column("holder", sa.String(64)),
        sa.Column("guess", sa.String(64)),
        sa.Column("result", sa.String(8), nullable=False),
        sa.Column("outcome", sa.String(8), nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("reference", sa.Float, nullable=False),
        sa.Column("damage", sa.Float),
    )
    connection = op.get_bind()
    for row in connection.execute(_STARTED).all():
        started = json.loads(row.body)
        started.pop("seed", None)
        truth = {
            "session_id": row.session_id,
            "kind": "mole.assigned",
            "seed": row.seed,
            "arm": "none",
            "holder": None,
            "strategy": None,
            "briefs": {},
            "facts": {},
            "fixed": True,
        }
        connection.execute(_SEAL, {"session_id": row.session_id, "at": row.at, "body": _json(truth)})
        connection.execute(_REWRITE, {"seq": row.seq, "body": _json(started)})
    with op.batch_alter_table("sessions") as batch:
        batch.drop_column("seed")


def downgrade() -> None:
    with op.batch_alter_table("sessions") as batch:
        batch.add_column(sa.Column("seed", sa.Integer, nullable=False, server_default="0"))
    connection = op.get_bind()
    truths = connection.execute(sa.text("SELECT session_id, body FROM sealed WHERE kind = 'mole.assigned'")).all()
    seeds = {row.session_id: json.loads(row.body)["seed"] % 2**31 for row in truths}
    for session_id, seed in seeds.items():
        connection.execute(
            sa.text("UPDATE sessions SET seed = :seed WHERE session_id = :session_id"),
            {"seed": seed, "session_id": session_id},
        )
    for row in connection.execute(_BEGUN).all():
        started = json.loads(row.body) | {"seed": seeds.get(row.session_id, 0)}
        connection.execute(_REWRITE, {"seq": row.seq, "body": _json(started)})
    op.drop_table("games")
    op.drop_table("sealed")
