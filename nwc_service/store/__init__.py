"""The database: drivers, schema and queries, one file per noun."""
