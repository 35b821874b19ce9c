"""Copy staging's database into a throw-away one: a Django app with `manage.py copy_stage_db`.

Django is known only in `apps.py`, `actions.py`, `forecast.py` and the command; the rest is Postgres.
"""
