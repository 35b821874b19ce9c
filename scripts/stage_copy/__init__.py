"""A Django app that copies staging's database into a throw-away one: `manage.py copy_stage_db`.

It is shipped inside the user's image, so it imports nothing else of `scripts`. Django is known only in
`apps.py` and in the command; the rest is Postgres.
"""
