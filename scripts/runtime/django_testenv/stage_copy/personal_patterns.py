"""The patterns by which a text shows personal data: SQL over one text `v`, and how many of them are enough.

What numbers match by chance (cards, IBANs, bare telephone numbers) counts by its share of what looks like it.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from . import personal_names, personal_numbers, personal_words

# Addresses of nobody, paths (git@host:path), names of files (icon@2x.png) and our own fakes are none.
_EMAIL = (
    r"(?<![\w.%+/-])(?!(?:no-?reply|do-?not-?reply|support|info|admin|root|webmaster|postmaster|git)@)"
    r"[\w.%+'-]+@(?:[\w-]+\.)+(?!(?:png|jpe?g|gif|svg|webp|css|js|map|invalid)\M)[a-z]{2,}(?![\w/-])(?!:\S)"
)
_NOT_A_DATE = r"(?!\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}(?!\d))"
_PHONE_ANYWHERE = (
    r"(?<![\w+.])\+(?!(?:28|83|89)\d{13}(?!\d))[1-9](?:[ ().\/-]{0,3}\d){7,14}(?!\d)"
    r"|(?<![\w.+-])(?:\+?00?1[ .-]|1[ .-])?(?:\([2-9]\d{2}\)\s?|[2-9]\d{2}[ .-])\d{3}[.-]\d{4}(?![\w.-]\w)"
    r"|(?<![\w.+/-])0[1-9](?:[ .]\d\d){4}(?![ .]?\d)"
)
_PHONE_CALLED = (
    r"\m(?:tel|phone|call|mobil|cell|ring|reach|whatsapp|fax|ruf|handy|appel|joign|llam|chiam|dzwo|bel me)"
    rf"[^\d\n]{{0,40}}{_NOT_A_DATE}\(?0[1-9](?:[ ()/.-]{{0,2}}\d){{7,11}}(?!\d)"
)
_PHONE_WHOLE = (
    r"^\s*(?:(?:\+?00?1[ .-]|1[ .-])?(?:\([2-9]\d{2}\)\s?|[2-9]\d{2}[ .-])\d{3}[ .-]\d{4}"
    r"|\(?00?[1-9]\d{0,4}[ )/.-]+\d[\d ()/.-]{4,12}\d|\+[1-9]\d{7,14})(?: ?(?:x|ext\.?) ?\d+)?\s*$"
)
_DATE = r"^\s*\d{1,4}[-/. ]{1,2}\d{1,2}[-/. ]{1,2}\d{1,4}(?:[T ]\d{1,2}:|\s*$)"
_PHONE_BARE = r"^(?:1?[2-9]\d{2}[2-9]\d{6}(?:x\d+)?|0[1-9]\d{8,9}|00[1-9]\d{9,12})$"
_V4 = (
    r"(?<![\w./-])(?!127\.|255\.|0\.|24\d\.|25\d\.)(?=[\d.]*(?:[4-9]\d|\d{3}))"
    r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w-]|\.\d|/\d)"
)
_V6 = (
    r"(?<![\w:])(?!2001:0?db8:fa4e)(?:[23][0-9a-f]{3}|fe80|fd[0-9a-f]{2})"
    r":(?:[0-9a-f]{0,4}:){1,6}[0-9a-f]{0,4}(?![\w:])"
)
_FOUR_PARTS = r"(?<![\w./-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)"
_DIGITS = r"(?<![\w.+-])\d(?:[ -]{0,2}\d){12,18}(?![\w.])"
_BRANDS = (  # https://en.wikipedia.org/wiki/Payment_card_number
    r"^(?:4\d{15}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(?:011|5\d\d)\d{12}|35\d{14}|3[068]\d{12})$"
)
_IBAN = r"(?<![\w])[a-z]{2}\d\d(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?(?![\w])"
# Letters of an IBAN by country. https://www.swift.com/standards/data-standards/iban-international-bank-account-number
_IBAN_LETTERS = (
    "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27"
    "GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22"
    "MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28"
    "TL23TN24TR26UA29VA22VG24XK20YE30"
)
# A street with a number, as some twenty countries write it; or a postal code beside a town.
_STREETS = (
    r"\m(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|court|ct|boulevard|blvd|terrace|crescent|parkway|highway"
    r"|circle|close|grove|gardens|mews|row|square|trail|way|alley|loop|ridge|pike|walk|plaza|cove|valley|hill|park)\M"
)
_STREET_FIRST = (
    r"\m(?:rue|avenue|av|boulevard|bd|place|chemin|all[ée]e|impasse|quai|route|cours|passage|calle|c/|avenida|avda"
    r"|plaza|pza|paseo|carrera|via|viale|corso|piazza|vicolo|contrada|strada|rua|travessa|pra[cç]a|alameda|estrada|ulica"
    r"|aleja|ul|al|os|pl)\M"
)
_STREET_JOINED = (
    r"(?:str\.|stra(?:ss|ß)e|weg|allee|platz|gasse|ring|damm|ufer|gatan|v[äa]gen|straat|laan|plein|gracht|kade|singel"
    "|veien|vej|gata|katu|sok[.]?|sokak|soka[ğg][\u0131i]|cad[.]?|caddesi|mah[.]?|mahallesi|bulvar[\u0131i])\\s"
)
_STREET = (
    rf"\m\d{{1,5}}[a-z]?,? (?!(?:[gtm]b|port|pin|inch|pack|x)\M)(?:[\w'.-]+ ){{1,3}}{_STREETS}"
    rf"|\m\d{{1,4}}(?: ?(?:bis|ter|[a-d]))?,? {_STREET_FIRST}\.? \w"
    rf"|{_STREET_FIRST}\.?\s?[^\d\n]{{3,40}}\d{{1,5}}"
    rf"|\m(?!(?:sitz|park|steh|stell|lager)platz)\w{{2,}}[ -]?{_STREET_JOINED}"
    rf"(?:[^\d\n]{{0,25}}\mno[:. ]*)?\d{{1,4}} ?[a-z]?(?![\w%])"
)
_STREET_LIKE = f"{_STREETS}|{_STREET_FIRST}|{_STREET_JOINED}"
_POSTAL = (
    r"[,\n]\s*(?:[A-Z]{1,2}-)?(?:\d{4,5}|\d{3} \d\d|\d\d-\d{3}|\d{4} [A-Z]{2})"
    r" [^\d\s,;a-z][^\d\s,;]+(?![\w/])"
    r"|[,\n] ?[A-Z]{2} \d{5}(?:-\d{4})?\M"
)
_PROFILE = (
    r"\m(?:linkedin\.com/(?:in|pub)/|xing\.com/profile/|facebook\.com/profile\.php|(?:twitter|x|instagram|facebook|vk"
    r"|tiktok|github|threads)\.(?:com|net)/@?[\w.-]{3,}/?$|t\.me/\w{4,}/?$)"
)
# Hashes of passwords by Django and crypt(3), and what services give their customers to sign in with.
_SECRETS = (
    r"^(?:pbkdf2_sha\d+|argon2\w*|scrypt|bcrypt\w*)\$|^\$(?:2[abxy]|argon2\w*|[156y])\$.{20}"
    r"|\meyJ[\w-]{10,}\.eyJ[\w-]{10,}|-----BEGIN (?:\w+ )*PRIVATE KEY-----|\m[sr]k_live_\w{16,}"
    r"|\mAKIA[A-Z0-9]{16}\M|\mgh[pousr]_\w{36}|\mxox[abprs]-[\w-]{10,}"
)
_DAY = r"^(?:\d{4}-\d\d-\d\d|\d{1,2}[./-]\d{1,2}[./-]\d{4})$"
_YEAR = r"CASE WHEN v ~ {day} THEN substring(v FROM '\d{{4}}')::int END"
_CARD = (
    r"""v ~ {digits} AND EXISTS (
    SELECT FROM regexp_matches(v, {digits}, 'g') m, regexp_replace(m[1], '\D', '', 'g') digits
    WHERE CASE WHEN digits ~ {brands} THEN """
    + personal_numbers.luhn("digits")
    + " ELSE false END)"
)
_IBAN_CHECKED = r"""v ~* {iban} AND EXISTS (
    SELECT FROM regexp_matches(v, {iban}, 'gi') m, upper(replace(m[1], ' ', '')) packed,
        substr(packed, 1, substring({countries} FROM left(packed, 2) || '(\d\d)')::int) number
    WHERE CASE WHEN number ~ '^[A-Z]{{2}}\d\d[A-Z0-9]{{8}}' THEN (
        SELECT string_agg(
            CASE WHEN c BETWEEN '0' AND '9' THEN c ELSE (ascii(c) - 55)::text END, '' ORDER BY n)
        FROM regexp_split_to_table(substr(number, 5) || left(number, 4), '') WITH ORDINALITY x(c, n)
    )::numeric % 97 = 1 ELSE false END)"""
_KEY = r"""is_key AND EXISTS (
    SELECT FROM translate(replace(v, 'ß', 'ss'), {accented}, {plain}) plain,
        lower(regexp_replace(plain, '([a-z0-9])([A-Z])', '\1_\2', 'g')) key
    WHERE key ~ {keys} AND key !~ {about})"""
_CONDITIONS = {
    "email": "v LIKE '%@%' AND v ~* {email}",
    "phone": r"v ~ '\d\d' AND v ~ {anywhere} OR v ~ '0\d[\d ()/.-]{{6}}' AND v ~* {called}",
    "phone whole": r"v ~ '\d\d' AND v !~ {date} AND v ~ {whole} "
    r"AND length(regexp_replace(v, '\D', '', 'g')) BETWEEN 8 AND 18",
    "phone bare": "v ~ {bare}",
    "ip": r"v ~ '\d\.\d' AND v ~ {v4} OR v LIKE '%:%' AND v ~* {v6}",
    "four parts": r"v ~ '\d\.\d' AND v ~ {four_parts}",
    "long number": "v ~ {digits}",
    "card": _CARD,
    "code": "v ~* {iban}",
    "iban": _IBAN_CHECKED,
    "street": r"v LIKE '% %' AND length(v) < 300 AND v ~ '\d' "
    "AND (v ~ {postal} OR v ~* {like} AND v ~* {street})",
    "profile": "v ~ '/' AND v ~* {profile}",
    "secret": r"v ~ '\$|eyJ|PRIVATE|_live_|AKIA|gh._|xox' AND v ~ {secret}",
    "day": "v ~ {day}",
    "key": _KEY,
}
_LITERALS = {
    name: sql.Literal(value)
    for name, value in {
        "email": _EMAIL,
        "anywhere": _PHONE_ANYWHERE,
        "whole": _PHONE_WHOLE,
        "date": _DATE,
        "bare": _PHONE_BARE,
        "v4": _V4,
        "v6": _V6,
        "four_parts": _FOUR_PARTS,
        "digits": _DIGITS,
        "brands": _BRANDS,
        "iban": _IBAN,
        "countries": _IBAN_LETTERS,
        "called": _PHONE_CALLED,
        "street": _STREET,
        "like": _STREET_LIKE,
        "postal": _POSTAL,
        "profile": _PROFILE,
        "secret": _SECRETS,
        "day": _DAY,
        "accented": f" -{personal_names.ACCENTED}{personal_names.ACCENTED.upper()}",
        "plain": f"__{personal_names.PLAIN}{personal_names.PLAIN.upper()}",
        "keys": personal_names.keys(),
        "about": f"_({'|'.join(sorted(personal_words.ABOUT))})$",
    }.items()
}
CONDITIONS = {name: sql.SQL(condition).format(**_LITERALS) for name, condition in _CONDITIONS.items()}
YEAR = sql.SQL(_YEAR).format(**_LITERALS)
_FEW, _MANY = 3, 10


def why(counts: Mapping[str, int], filled: int, *, whole_numbers: bool, keys: bool) -> str:
    """Return why a column looks personal by the counts of CONDITIONS; empty if it does not."""
    often, some = max(1, filled // 200), max(min(_FEW, filled), filled // 30)
    phones = max(counts["phone"], counts["phone whole"])
    if counts["phone bare"] >= _MANY and counts["phone bare"] >= 0.95 * filled:  # of random ids 0.64
        phones = max(phones, counts["phone bare"])
    found = {
        "a card number": counts["card"] if 2 * counts["card"] >= counts["long number"] else 0,
        "an e-mail address": counts["email"],
        "a telephone number": phones if phones >= often else 0,
        "an IBAN": counts["iban"] if 5 * counts["iban"] >= counts["code"] else 0,
        "an IP address": counts["ip"]
        if counts["ip"] >= often and 4 * counts["ip"] >= 3 * counts["four parts"]
        else 0,
        "a postal address": counts["street"] if counts["street"] >= some else 0,
        "the address of a profile": counts["profile"] if counts["profile"] >= some else 0,
        "a password's hash or a key": counts["secret"],
        "a key that looks personal": counts["key"] if keys else 0,
    }
    for what, count in found.items():
        if count and (what == "a card number" or not whole_numbers):
            return f"{count} of {filled} sampled values have {what}"
    return ""
