"""Runs the migrations on the connection that `heist.store.migrate` passes in, or on HEIST_DATABASE_URL."""

from alembic import context

from heist import settings
from heist.store.engine import connect, migrating
from heist.store.tables import metadata

given = context.config.attributes.get("connection")
if given is None:
    with migrating(connect(settings.read().database_url)) as connection:
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        context.run_migrations()
else:
    context.configure(connection=given, target_metadata=metadata, render_as_batch=True)
    context.run_migrations()
