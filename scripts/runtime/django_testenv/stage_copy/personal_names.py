"""Tell by a column's name and type whether it holds personal data, or secrets that must not leave staging."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import Column, Table


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _pairs(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(pair.split("_")) for pair in text.split())


# Words that mean personal data or a secret wherever they stand in a name; more languages than English.
PERSONAL = word_set("""
    fname lname mname uname ipv mobilnummer handynummer handynr steuerid steuernr town medical allergy
    illness disease medication prescription sozialversicherungsnr geburtsname address addr biometric
    birth birthdate birthday birthplace bic blood born cellphone city coordinates cookie credential cvc
    cvv diagnosis disability dob email ethnicity fax fingerprint firstname forename fullname gender
    geolocation iban imei imsi income ip lastname latitude login longitude maiden mail marital medicare
    mobile msisdn nationality nickname nino otp passphrase passport passwd password payroll phone plate
    postal postcode pwd religion salary secret sex signature skype ssn street surname telephone token
    totp username wage whatsapp zipcode cardholder passcode geolocated landline homeaddress aadhaar bsn
    cnp cpf curp dni nif nie nhs pesel personnummer snils sozialversicherungsnummer steuernummer
    anschrift geburtsdatum geburtsort geburtstag gehalt geschlecht handy kontoinhaber kontonummer
    nachname plz strasse telefon vorname wohnort familienname adresse courriel naissance prenom rue
    adres apellido apellidos calle cedula celular correo direccion movil nacimiento salario
    sueldo telefono cognome indirizzo nascita endereco nascimento sobrenome achternaam voornaam
    geboortedatum telefoonnummer telefonnummer imie nazwisko fornavn etternavn efternamn fornamn
    ansprechpartner ansprechpartnerin ausweisnummer bankverbindung emailadresse familienstand fuehrerschein
    fuhrerschein geb geburt hausnr hausnummer kennwort konfession krankenkasse krankenversicherung lohn
    mailadresse notfallkontakt passwort personalausweis reisepass rufnummer staatsangehoerigkeit
    staatsangehorigkeit staatsbuergerschaft staatsburgerschaft steueridentifikationsnummer
    versichertennummer versicherungsnummer wohnsitz civilite conjoint domicile motdepasse nationalite
    remuneration salaire secu contrasena contrasenia cuil cuit domicilio nacionalidad pasaporte rfc
    sexo adresi adsoyad cep ceptel cinsiyet dogum ehliyet eposta kimlik kizlik maas parola pasaport
    sifre soyad soyadi soyisim tckn telefonu uyruk cellulare codicefiscale residenza sesso stipendio
    senha burgerservicenummer geslacht mobiel paspoort rekeningnummer salaris wachtwoord woonplaats
    anrede blutgruppe diagnose gsm nac telemovel hausarzt mobil morada sexe tel tussenvoegsel haslo plec
    urodzenia zamieszkania adress fodelsedatum fodselsdato lonn losenord mobilnr
    personnr telefonnr
    postnummer postnr rua ulica gata gatuadress bairro
    stad stadt ville citta cidade ciudad miasto miejscowosc localidad localidade
    nip piva contribuinte matricola matricule personalnummer personalnr personeelsnummer personeelsnr
    anstallningsnummer bankkonto cittadinanza obywatelstwo medborgarskap mutuelle titulaire
    """)
# Beginnings of words that mean it: telefonos, telefonnummern, telefonu.
STEMS = word_set("""
    achternaam alerg allerg anschrift apelid apellid celular cellul cognom dogum dowod enderec enferm geboor
    geburt handynum hausnum huisnum indirizz kennwor kontonr kontonum krankh mobilf nachnam nacim
    nacionalid naiss nascim nationalit nazwisk passwor postleit rekeningn rufnum salair sobrenom soyad
    staatsang straat telef urodz versichert versicherungsn voornaam vornam wachtw wynagrodz
    """)
# Words that mean it as the whole name, or as its last word, of a text.
_ALONE = word_set("""
    beneficiary card cell zip pan kin guardian initials maiden payee payer pin recipient spouse tel vat
    vin contact contactperson bio handle lat lng lon author cap ort rg rib
    contactpersoon kontaktperson destinataire destinatario empfaenger empfanger intestatario mottagare
    odbiorca ontvanger titular
    """)
PAIRS = _pairs("""
    contact_person sur_name acct_no acct_number acct_nr bank_acct bank_acc acc_no acc_number routing_no
    base_pay gross_pay net_pay geo_point geo_location middle_initial skype_id facebook_id google_id
    apple_id linkedin_id twitter_id telegram_id wechat_id ethnic_group diagnosis_code medical_code
    account_holder account_no account_nr account_number access_key api_key auth_key backup_code
    bank_account bank_details born_on card_cvc card_expiry card_holder card_last card_no card_nr
    card_number card_pan cc_no cc_num cc_number cell_no cell_number cell_phone codice_fiscale
    credit_card debit_card display_name driver_licence driver_license drivers_licence drivers_license
    e_mail encryption_key family_name father_name first_name full_name given_name holder_name id_card
    id_no id_number identity_number initial_name last_name legal_name licence_number licence_plate
    license_number license_plate maiden_name marital_status middle_name mother_name national_id
    national_insurance national_number nick_name payment_card personal_code personal_id personal_no
    personal_number pin_code post_code preferred_name private_key real_name recovery_code recovery_key
    reset_key routing_number screen_name secret_key security_answer security_number session_data
    session_id session_key signing_key social_number social_security sort_code ssh_key swift_code tax_id
    tax_no tax_number taxpayer_id tel_no tel_nr tel_number user_name vat_id vat_no vat_number zip_code
    blood_group blood_type created_by updated_by postal_code license_no licence_no passport_type
    insurance_number health_insurance device_id advertising_id code_postal kreditkarte_nummer
    konto_nummer konto_inhaber street_name
    ausweis_nr ausweis_nummer de_passe de_famille jeune_fille securite_sociale situation_familiale
    tel_fixe tel_mobile tel_portable cuenta_bancaria estado_civil codigo_postal seguro_social anne_adi
    baba_adi e_posta medeni_hal vor_name nach_name permis_conduire kan_grubu fecha_nac nom_usage
    nom_marital konto_nr notfall_kontakt
    kod_pocztowy partita_iva tessera_sanitaria numer_konta numer_rachunku numero_compte compte_bancaire
    conta_bancaria agencia_conta conto_corrente rachunek_bankowy employee_number employee_no staff_number
    nome_completo nombre_completo nom_complet volledige_naam osoba_kontaktowa titular_cuenta numero_documento
    """)
# Numbers and dates that are personal by these words alone; "phones integer" is a count.
_NUMBERS = word_set("""
    birth birthdate birthday born dob salary wage income payroll ssn iban passport phone telephone
    mobile cellphone msisdn imei imsi latitude longitude lat lng lon aadhaar bsn cpf dni pesel nif
    gehalt salario sueldo geburtsdatum geburtstag naissance nacimiento nascita geboortedatum telefon
    telefono handy plz pin zip zipcode postcode fax cvv cvc geb dogum kimlik lohn maas mobilnr personnr
    remuneration rufnummer wynagrodzenie salaire salaris stipendio tckn telefonnr telefonu urodzenia
    """)
_NUMBER_PAIRS = _pairs("""
    acct_no acct_number bank_acct bank_acc acc_no acc_number routing_no base_pay gross_pay net_pay
    account_no account_number bank_account card_no card_number cc_number cell_number cell_phone
    credit_card id_number national_id national_number personal_number routing_number security_number
    social_number social_security tax_id tax_number tel_number vat_number zip_code pin_code post_code
    sort_code personal_id
""")
_BIRTH = ("dogum", "geboor", "geburt", "naiss", "nacim", "nascim", "urodz")  # beginnings of words
_DATES = word_set("""
    birth birthdate birthday born dob nascita fodelsedatum fodselsdato geb nac
    """)
# People. A column `name` in a table of them has a person's name; so has `customer_name` in any table.
PEOPLE = word_set("""
    mere pere madre padre mae pai mutter vater alumno benutzer calisan cliente dipendente empleado employe
    etudiant hasta klant kullanici medewerker
    mitarbeiter musteri ogrenci paciente persona personel personne schueler schuler usuario utente
    utilisateur utilizador
    adherent aluno anstalld anvandare eleve elev funcionario gebruiker kund lid medlem membro mitglied osoba
    pacjent paziente pessoa pracownik salarie socio studente uczen
    cust kunden insured policyholder holder
    account applicant attendee author beneficiary billing borrower buyer candidate caller child client
    coach contact contractor cardholder customer customeruser debtor doctor donor driver emergency
    employee father friend guardian guest holder husband invitee kunde landlord lead lecturer manager
    member mother nurse owner parent participant passenger patient payee payer people person physician
    player profile pupil recipient referrer registrant relative reporter resident respondent sender
    shipping signer speaker sponsor spouse staff student subscriber supervisor teacher tenant trainer
    traveler traveller user victim visitor volunteer voter wife witness worker
    """)
_AROUND_NAMES = word_set("of the full de del di da complet completo")
_NOT_A_PERSONS_NAME = word_set(
    "account billing shipping emergency lead profile staff"
)  # not before "name" alone
_OF_TABLES = PEOPLE - {"account"}
_NAMES = word_set("name nombre nom nome naam namn ad adi isim")
_LONG_ENOUGH = tuple(word for word in _OF_TABLES if len(word) > 5)  # noqa: PLR2004  "shopcustomer"
# A name that ends so says something about the personal datum: email_verified, card_type, token_count.
ABOUT = word_set("""
    allowed at attempts backend campaign category choices class clicked color confirmed config count
    counter currency description domain enabled encoding event expiration expires expiry field flag
    footer format header height help icon id index kind label language layout length lifetime limit
    locale max message method min model on opened options order pattern placeholder plan policy port
    prefix protocol provider queue range rate regex required retries scope sent server settings size
    slug sort source status style subject suffix template timezone title total ttl type
    unit uri url uuid validated verified version visible width pk amount percent percentage enum code
    cost fee mode rule strategy timeout
    """)
_GLUE = word_set(
    "year line remote host peer hash value text of the a no nr id number code num name user date my is old "
    "new home work primary secondary main last"
)
_VOCABULARY = (
    PERSONAL
    | _ALONE
    | PEOPLE
    | (_NAMES - word_set("ad adi"))
    | _GLUE
    | ABOUT
    | frozenset(word for pair in PAIRS for word in pair)
) - word_set("at on a is my")

# Letters that Unicode does not take apart into a plain one and an accent.
_LETTERS = {ord(letter): plain for letter, plain in zip("ßıøłđæœ", ("ss", "i", "o", "l", "d", "ae", "oe"))}
# Those that keys of documents have, for SQL's translate().
ACCENTED = "áàâäãåçéèêëğíìîïıñóòôöõøşúùûüýžšč"
PLAIN = "aaaaaaceeeegiiiiinoooooosuuuuyzsc"

_NEVER = re.compile(r"^(boolean|oid|xid|interval|regclass)")
_WHOLE = re.compile(r"^(smallint|integer|bigint)")
_FRACTION = re.compile(r"^(numeric|real|double precision|money)")
_TIME = re.compile(r"^(date|time)")
_ADDRESS = re.compile(r"^inet")
_SECRETS = word_set("secret token password passwd credential")


def why(table: Table, column: Column, more: Iterable[str] = ()) -> str:
    """Return why the column looks personal by its name or type; empty if it does not.

    `more` are words or globs of the project that make a name look personal.
    """
    words = split(column.name)
    for word in more:
        if fnmatchcase("_".join(words), word.casefold()) or word.casefold() in words:
            return f'STAGE_COPY["personal"] has "{word}"'
    if _ADDRESS.match(column.type):
        return "an IP address, by its type"
    plain = [word for word in words if not word.isdigit()]
    return "its name" if plain and _is_personal(table, column, plain) else ""


def _is_personal(table: Table, column: Column, words: list[str]) -> bool:
    pairs = set(zip(words, words[1:]))
    if _NEVER.match(column.type):
        return False
    if _TIME.match(column.type):
        return bool(_DATES & set(words)) or any(word.startswith(_BIRTH) for word in words)
    if column.type.startswith("uuid"):
        return bool(_SECRETS & set(words))
    if words[-1] in ABOUT and tuple(words[-2:]) not in PAIRS:
        return False
    if _WHOLE.match(column.type) or _FRACTION.match(column.type):
        counts = column.name.casefold().rstrip("_0123456789").endswith("s")
        numbers = _NUMBERS - {"phone", "telephone", "mobile"} if counts else _NUMBERS
        return bool(numbers & set(words) or pairs & _NUMBER_PAIRS)
    return (
        bool(PERSONAL & set(words) or pairs & PAIRS)
        or any(word.startswith(tuple(STEMS)) for word in words)
        or words[-1] in _ALONE
        or _is_a_persons_name(table, words)
    )


def _is_a_persons_name(table: Table, words: list[str]) -> bool:
    """Return True for `customer_name`, `name_of_customer`, and for `name` in a table of people."""
    short = words in (["first"], ["last"])
    if not _NAMES & set(words) and not short:
        return False
    others = [word for word in words if word not in _NAMES | _AROUND_NAMES]
    if others and set(others) <= (PEOPLE - _NOT_A_PERSONS_NAME) | {"emergency", "billing", "shipping"}:
        return others != ["emergency"]
    names = (table.name, *(one.rpartition(".")[2] for one in table.ancestors))
    parts = [part for name in names for part in split(name)]
    of_person = any(part in _OF_TABLES or part.rstrip("s").endswith(_LONG_ENOUGH) for part in parts)
    return of_person and (not others or short)


@lru_cache(maxsize=4096)
def _split(name: str) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFKD", name.translate(_LETTERS))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])", "_", plain)
    found: list[str] = []
    for word in re.split(r"[^a-z0-9]+", spaced.casefold()):
        if word:
            found += [_singular(part) for part in (_segments(word) or [word])]
    return tuple(found)


def split(name: str) -> list[str]:
    """Return the words of a name: of `firstName`, `first_name`, `FIRSTNAME` and `firstname` the same two."""
    return list(_split(name))


def _singular(word: str) -> str:
    for ending, instead in (("esses", "ess"), ("ies", "y"), ("s", "")):
        if word.endswith(ending) and len(word) > 3 and word not in _VOCABULARY:  # noqa: PLR2004  "ids" is "id"
            one = word[: -len(ending)] + instead
            return one if one in _VOCABULARY else word
    return word


def _segments(word: str) -> list[str]:
    """Return the known words that a word is joined of: `phonenumber`; empty if it is no such word."""
    if word in _VOCABULARY or len(word) < 5:  # noqa: PLR2004  nothing shorter is two words
        return []
    best: list[list[str] | None] = [[]] + [None] * len(word)
    for end in range(2, len(word) + 1):
        for start in range(end - 1):
            before, part = best[start], word[start:end]
            if before is None or _singular(part) not in _VOCABULARY:
                continue
            now = best[end]
            if now is None or len(before) + 1 < len(now):
                best[end] = [*before, part]
    return best[-1] or []
