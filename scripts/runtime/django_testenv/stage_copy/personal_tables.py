"""The columns with personal data or secrets in tables of Django and of packages that many projects have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import Column, Table

_LOG, _SESSION, _TOKEN = (
    "what an administrator changed",
    "a session lets its holder in",
    "a token lets its holder in",
)
_PROVIDER, _MAIL, _ATTEMPT = "what a provider said of a user", "a mail", "an attempt to log in"
_ARGUMENTS, _HISTORY = "a task's arguments and result", "a copy of a row"

# By table: columns, and what they hold. Names of tables are the packages' own, with Django's default prefix.
_KNOWN: dict[str, tuple[str, str]] = {
    "django_admin_log": ("object_repr change_message", _LOG),
    "django_session": ("session_key session_data", _SESSION),
    "user_sessions_session": ("session_key session_data ip user_agent", _SESSION),
    "auth_user": ("username first_name last_name email password", "Django's users"),
    "account_emailaddress": ("email", "a user's address"),
    "account_emailconfirmation": ("key", _TOKEN),
    "socialaccount_socialaccount": ("uid extra_data", _PROVIDER),
    "socialaccount_socialtoken": ("token token_secret", _TOKEN),
    "socialaccount_socialapp": ("secret key settings", "a key of a provider"),
    "mfa_authenticator": ("data", _TOKEN),
    "usersessions_usersession": ("session_key ip user_agent data", _SESSION),
    "social_auth_usersocialauth": ("uid extra_data", _PROVIDER),
    "social_auth_association": ("handle secret", _TOKEN),
    "social_auth_code": ("email code", _TOKEN),
    "social_auth_partial": ("token data", _PROVIDER),
    "authtoken_token": ("key", _TOKEN),
    "knox_authtoken": ("digest token_key", _TOKEN),
    "token_blacklist_outstandingtoken": ("token jti", _TOKEN),
    "oauth2_provider_accesstoken": ("token token_checksum", _TOKEN),
    "oauth2_provider_refreshtoken": ("token", _TOKEN),
    "oauth2_provider_grant": ("code code_challenge nonce claims", _TOKEN),
    "oauth2_provider_idtoken": ("jti", _TOKEN),
    "oauth2_provider_application": ("client_secret", "a key of a client"),
    "otp_totp_totpdevice": ("key", _TOKEN),
    "otp_hotp_hotpdevice": ("key", _TOKEN),
    "otp_static_statictoken": ("token", _TOKEN),
    "otp_email_emaildevice": ("key token email", _TOKEN),
    "two_factor_phonedevice": ("number key", _TOKEN),
    "axes_accessattempt": ("username ip_address user_agent get_data post_data", _ATTEMPT),
    "axes_accesslog": ("username ip_address user_agent session_hash", _ATTEMPT),
    "axes_accessfailurelog": ("username ip_address user_agent", _ATTEMPT),
    "defender_accessattempt": ("username ip_address user_agent", _ATTEMPT),
    "reversion_version": ("object_repr serialized_data", _HISTORY),
    "auditlog_logentry": ("object_repr changes changes_text serialized_data remote_addr", _HISTORY),
    "easyaudit_crudevent": ("object_repr object_json_repr changed_fields", _HISTORY),
    "easyaudit_loginevent": ("username remote_ip", _ATTEMPT),
    "easyaudit_requestevent": ("query_string remote_ip", _ATTEMPT),
    "pghistory_context": ("metadata", _HISTORY),
    "actstream_action": ("data description", _HISTORY),
    "wagtailcore_modellogentry": ("label data", _HISTORY),
    "wagtailcore_pagelogentry": ("label data", _HISTORY),
    "wagtailforms_formsubmission": ("form_data", "what a visitor wrote"),
    "django_comments": ("user_name user_email user_url comment ip_address", "what a visitor wrote"),
    "post_office_email": ("from_email to cc bcc subject message html_message headers context", _MAIL),
    "mailer_message": ("message_data", _MAIL),
    "mailer_messagelog": ("message_data", _MAIL),
    "django_mailbox_message": ("from_header to_header subject body", _MAIL),
    "silk_request": ("raw_body body encoded_headers query_params", "a request"),
    "silk_response": ("raw_body body encoded_headers", "a request"),
    "django_celery_results_taskresult": ("task_args task_kwargs result traceback meta", _ARGUMENTS),
    "django_q_task": ("args kwargs result", _ARGUMENTS),
    "django_q_ormq": ("payload", _ARGUMENTS),
    "background_task": ("task_params", _ARGUMENTS),
    "push_notifications_gcmdevice": ("registration_id device_id", _TOKEN),
    "push_notifications_apnsdevice": ("registration_id device_id", _TOKEN),
}
TOKENS = tuple(name for name, (_, what) in _KNOWN.items() if what in (_TOKEN, _SESSION))


def why(table: Table, column: Column) -> str:
    """Return what a column of a known table, or of its partition, holds; empty for others."""
    for name in (table.name, *(one.rpartition(".")[2] for one in table.ancestors)):
        columns, what = _KNOWN.get(name, ("", ""))
        if column.name in columns.split():
            return what
    return ""
