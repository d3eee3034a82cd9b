"""Alembic migrations of the job store. They travel with the package and run when a store is opened."""
