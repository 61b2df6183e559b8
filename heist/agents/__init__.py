"""The crew: who sits at the table, one turn, one session, and the sessions that run now."""
