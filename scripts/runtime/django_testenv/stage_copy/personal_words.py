"""The words by which the name of a column says that it holds personal data, or a secret, in many languages.

The words are without accents and in lower case: Straße is strasse, doğum is dogum. `tele*` stands for all
words that begin so, `*tele*` for all that have it anywhere, as compounds of German or Dutch do.
"""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


def pair_set(text: str) -> frozenset[tuple[str, ...]]:
    """Return the pairs of words of a text, each pair joined by a low line."""
    return frozenset(tuple(pair.split("_")) for pair in text.split())


NAME, BIRTH, PLACE, COORDINATES = "a person's name", "a birth or a death", "a town", "a position on the map"
ADDRESS, PHONE, EMAIL = "an address", "a telephone number", "an e-mail address"
NUMBER, ACCOUNT, PAY = "an identity number", "an account or a card", "income"
HEALTH, STATUS, LOGIN = "health", "a person's status", "a login"
SECRET, ONLINE, FAMILY = "a secret", "a trace on the internet", "a relative or a contact"

# By what they mean: in any place of a name.
WORDS: dict[str, frozenset[str]] = {
    NAME: word_set("""
        fname lname mname sname firstname lastname middlename fullname forename* surname* givenname
        familyname nickname maiden *vorname* *vornam nachnam* *nachname* familienname* geburtsname*
        rufname *prenom* apellido* apelid* apellid* sobrenom* cognom* *achternaam* *voornaam*
        tussenvoegsel* roepnaam imiona *nazwisk* soyad* soyisim adsoyad adisoyadi kizlik fornavn*
        etternavn* mellomnavn *efternavn* *efternamn* *fornamn* mellannamn tilltalsnamn voorletters
        voorvoegsel* inicial* initialen imie etunim* sukunim* prijmeni krestni prenume keresztnev*
        vezeteknev* csaladnev* anrede civilite titulaire cardholder kontoinhaber ansprechpartner*
        patronym* otchestvo familiya imya onoma eponymo salutation priezvisko *prijmeni prezime prezimen*
        vorn nachn hoten tenkhach primerapellido kunstnername kallenavn smeknamn jmenoprijmeni
        onomateponymo familia epitheto postnom
        """),
    BIRTH: word_set("""
        birth birthplace *birthdate* *birthday* born dob bday yob *geburt* *geboort* geboor* geboren geb
        gebdat gebdatum gebort *naissanc* naiss* nacim* *nacimient* nascim* *nascita* dtnasc* nasc nac
        *urodz* dogum* fodelse* fodsels* fodt fodd syntyma* narozeni nastere szuletes* rojstv* rodjenj*
        tanggallahir lahir deceas* deathdate death died sterbedat* todesdatum todestag verstorben* deces
        decede* fallecimient* defuncion obito morte zgonu zgon overleden overlijden* olum vefat
        syntymaaika syntymapaiva syntymapaikka szulet* nasterii nasten rodjenja rodenja rozhdeniya
        ngaysinh genisis gennisis narozen* narodenia umrl* smrti kuollut halal* decedat*
        """),
    ADDRESS: word_set("""
        address addr adr *streetaddr* street streetname *homeaddress* postal postalcode postcode zipcode
        *anschrift* *strasse* *straat* hausnr *hausnum* *huisnum* plz *postleit* adress* *adresse* *adres
        indirizz* direccion* domicil* enderec* residenza rue calle rua ulica ulicy adres* adresi sokak
        cadde mahalle* gata *gatuadr* *postnummer* postnr kodpocztowy bairro cep haslnum bostads*
        wohnsitz* wohnadr* woonplaats* zamieszkania morada logradouro complemento colonia vej veien osoite
        katuosoite postinumero ulice psc lakcim iranyitoszam strada domiciliu alamat kodepos apartment apt
        lieferadr* rechnungsadr* adresa adresy adrese ulici lahiosoite postinro postinum* postiosoite
        hazszam utca irsz iranyitosz* diachi dieuthinsi dieuthynsi kucni kucnibroj popisne orientacni
        ruelle hausn jalan kelurahan kecamatan cp zipcod civico
        """),
    PLACE: word_set("""
        town city stad stadt ville citta cidade ciudad miasto miejscowosc localidad localidade *wohnort*
        ort ilce kommune postort mesto kaupunki paikkakunta oras varos postitmp postitoimipaikka orasul
        kota thanhpho telepules lakohely bydliste obec bosted bopel
        """),
    COORDINATES: word_set("latitude longitude geolocation geolocated coordinates latlng latlon latlong gps"),
    PHONE: word_set("""
        phone *cellphone* *mobilephone* *homephone* *workphone* telephone mobile msisdn landline fax
        whatsapp tel telef* *telefon* *handynum* handy handynr *rufnum* mobil *mobilf* *mobilnum* mobilnr
        gsm gsmno ceptel cep *mobiel* telemov* celular* cellul* movil puhelin* matkapuhelin telnr phonenum
        phoneno *telephone* telno telp nohp puh puhelinro puhnro telcislo tlf tlfnr tlfno sdt dienthoai
        tilefono kinito handphone notelp sabittel* mobiltlf
        """),
    EMAIL: word_set("""
        email mail *emailaddr* *emailadr* mailadresse eposta epost *epost courriel* correo* sahkoposti
        sposti posta epostadresi
        """),
    NUMBER: word_set("""
        ssn nino aadhaar bsn burgerservicenummer cnp cpf curp dni nif nie nhs nip pesel tckn rfc cuil cuit
        rut piva snils nric uhid mrn cin rg hetu cpr nir insee secu *sozialversicher* *versichert*
        *versicherungs* *krankenkass* *krankenvers* steuerid steuernr *steueridentifik* *steuernum*
        *personnum* personnr *personalnum* personalnr *fodselsnum* personeelsn* anstallningsn* matricola*
        matricule* *passport* passeport* pasaporte* pasaport passnr reisepass* *personalausweis* *ausweis*
        *paspoort* dowod* kimlik* *codicefiscale* contribuinte *nationalid* cedula* *fuhrerschein*
        *fuehrerschein* ehliyet plate *kennzeichen* kenteken socialsecurity rodnecislo nik ktp licenceno
        licenseno matricula identification identificacion identificacao legitymacj* imei imsi taxid
        taxpayer rodne oib jmbg cccd cmnd taj szemelyi adoszam adoazonosito afm amka egn pasport* plaka
        targa immatriculation kfz regnr spz rendszam registrationplate tck tckno tc passnummer fnr
        personid adhar aadhar svnr sozialvers avs ahv nrc nic
        """),
    ACCOUNT: word_set("""
        iban cvc cvv *kontonum* kontonr *kontonr bankverbindung bankkonto bankaccount rekeningn*
        rekeningnummer *creditcard* kreditkart* cardno cardnum cardnumber ccnum ccnumber pan clabe
        accountno accountnum acctno hesapno ucet uctu bankovniho szamlaszam tilinumero kontoinh
        cont_bancar rekening iban_no accno
        """),
    PAY: word_set("""
        salary salaries wage income payroll gehalt *gehalt lohn *lohn bruttolohn nettolohn salair*
        salaris* salari salario* sueldo* stipendi* remuneration* wynagrodz* pensja maas maasi lonn zarob*
        placa* plac loon maandloon ordenado fizetes venituri brutlon vencimento mzda mzdy palkka lonn*
        fizu berezes zarplata gaji luong salariu
        """),
    HEALTH: word_set("""
        chronic medical medication* prescription* diagnos* allerg* alerg* disabilit* illness* disease*
        biometric fingerprint blood teshis antecedent* clinico clinical anamnesi* arterial pulse
        cholesterol glucose glycemi* *blutdruck* bloodpressure *blutgruppe* symptom* krankh* enferm*
        maladie* malattia* handicap* *befund* anamne* patholog* rahatsizlik hastalik choroba* ziekte*
        sjukdom* pregnan* behandlung* hausarzt hausarzt* huisarts medicare mutuelle vaccinat*
        immunization* impfung* comorbid* bloodtype haemoglobin hemoglobin faceid faceencoding voiceprint
        vercsoport veriryhma krevni *diagnoos* *sairau*
        """),
    STATUS: word_set("""
        gender sex sexe sexo sesso geschlecht* geslacht* cinsiyet* plec kjonn sukupuoli pohlavi nem genero
        ethnic* *religio* konfession* denominat* caste nationalit* nacionalid* nasjonalit* narodow*
        narodn* maritial staatsang* staatsburg* staatsbuerg* cittadinanza obywatelstw* medborgarskap uyruk
        uyrugu citizenship marital *familienstand* *zivilstand* *burgerlijke* conjoint estadocivil
        civilstand sivilstatus medeni political sexual* mariage criminal conviction* gioitinh agama
        kelamin spol nemi neme uskonto narodnost allampolg* kansalaisuus cetatenie drzavljanstvo
        perkawinan
        """),
    LOGIN: word_set("""
        username login uname screenname *benutzername* gebruikersnaam anvandarnamn brukernavn kullaniciadi
        nombreusuario nomeutente loginname userlogin kayttajatunnus kayttajanimi kullanici kullaniciad*
        uzivatelskejmeno prihlasovaci felhasznalonev utilizator korisnickoime korisnik
        """),
    SECRET: word_set("""
        passwd password passwords passwort *passwor* passphrase passcode pwd *kennwor* *wachtw* parola
        parolasi sifre* senha* *losenord* adgangskod* wachtwoord* psw pswd haslo motdepasse contrasen*
        salasana jelszo heslo secret token tokens credential* cookie* otp totp signature lozinka parol
        *salasana matkhau katasandi mdp
        """),
    ONLINE: word_set(
        "ip ips ipv ipaddr ipaddress* clientip remoteip useragent skype facebook linkedin instagram"
    ),
    FAMILY: word_set("""
        *notfallkontakt* spouse beneficiary beneficiaries husband wife fiance *ehepartner* *elternteil*
        tutorlegal
        """),
}
# The same as the whole name, or as its last word, of a text.
ALONE = word_set("""
    card cell zip kin guardian initials payee payer pin recipient vat vin contact contactperson bio handle
    lat lng lon author cap rg rib contactpersoon kontaktperson destinataire destinatario empfaenger
    empfanger intestatario mottagare odbiorca ontvanger titular nominee nok poc signatory attn
    """)
PAIRS: dict[str, frozenset[tuple[str, ...]]] = {
    NAME: pair_set("""
        sur_name middle_initial account_holder card_holder display_name family_name father_name first_name
        full_name given_name holder_name initial_name last_name legal_name maiden_name middle_name
        mother_name nick_name preferred_name real_name screen_name user_name konto_inhaber anne_adi
        baba_adi vor_name nach_name nom_usage nom_marital de_famille jeune_fille nom_famille nome_completo
        nombre_completo nom_complet volledige_naam osoba_kontaktowa titular_cuenta nome_mae nome_pai
        ad_soyad birth_name prefered_name known_as signed_by contact_person nama_depan nama_belakang
        achter_naam voor_naam
        """),
    BIRTH: pair_set(
        "born_on fecha_nac data_nasc dt_nasc fec_nac date_naiss of_death death_date tgl_lahir d_o"
    ),
    ADDRESS: pair_set("""
        code_postal codigo_postal kod_poczt cod_postale zip_code post_code postal_code street_name
        kod_pocztowy address_line code_post cod_postal zip_cod
        """),
    COORDINATES: pair_set("geo_point geo_location"),
    PHONE: pair_set("""
        cell_no cell_number cell_phone tel_no tel_nr tel_number tel_fixe tel_mobile tel_portable cep_no
        hp_number number_hp
        """),
    EMAIL: pair_set("e_mail e_posta e_post correo_electronico"),
    NUMBER: pair_set("""
        driver_licence driver_license drivers_licence drivers_license id_card id_no id_number
        identity_number licence_number licence_plate license_number license_plate national_id
        national_insurance national_number personal_code personal_id personal_no personal_number
        registration_plate security_number social_number social_security social_insurance tax_id tax_no
        tax_number taxpayer_id tax_code vat_id vat_no vat_number license_no licence_no insurance_number
        insurance_policy policy_number health_insurance ausweis_nr ausweis_nummer securite_sociale
        seguro_social permis_conduire codice_fiscale partita_iva tessera_sanitaria employee_number
        employee_no staff_number staff_no numero_documento student_number student_no member_number
        membership_number patient_number medical_record id_document num_lic document_number voter_id
        pan_number policy_holder num_secu numero_secu vehicle_plate plate_no plate_number emirates_id
        civil_id identifiant_officiel
        """),
    ACCOUNT: pair_set("""
        acct_no acct_number acct_nr bank_acct bank_acc acc_no acc_number routing_no account_no account_nr
        account_number bank_account bank_details card_cvc card_expiry card_last card_no card_nr
        card_number card_pan cc_no cc_num cc_number cc_first cc_last cc_digits credit_card debit_card
        payment_card routing_number sort_code swift_code kreditkarte_nummer konto_nummer konto_nr
        cuenta_bancaria numer_konta numer_rachunku numero_compte compte_bancaire conta_bancaria
        agencia_conta conto_corrente rachunek_bankowy numero_cuenta last_four
        """),
    PAY: pair_set("base_pay gross_pay net_pay take_home annual_pay hourly_pay"),
    HEALTH: pair_set("""
        diagnosis_code medical_code blood_group blood_type face_descriptor face_encoding face_embedding
        kan_grubu gruppo_sanguigno grupo_sanguineo groupe_sanguin health_status medical_history sick_leave
        chief_complaint
        """),
    STATUS: pair_set(
        """
        ethnic_group marital_status maritial_status situation_familiale estado_civil civil_status
        civil_state estado_c stan_cywilny stato_civile medeni_hal
        """
    ),
    LOGIN: pair_set("user_login login_name created_by updated_by"),
    SECRET: pair_set("""
        access_key api_key auth_key backup_code encryption_key pin_code private_key recovery_code
        recovery_key reset_key secret_key security_answer session_data session_id session_key signing_key
        ssh_key de_passe mot_pass mat_khau kata_sandi user_pass webhook_key activation_key validation_hash
        confirmation_key license_key reset_hash verification_hash activation_code
        """),
    ONLINE: pair_set("""
        skype_id google_sub apple_sub facebook_uid facebook_id google_id apple_id linkedin_id twitter_id
        telegram_id wechat_id device_id advertising_id user_agent remote_addr forwarded_for client_addr
        facebook_url linkedin_url twitter_url instagram_url twitter_handle facebook_profile
        linkedin_profile device_token
        """),
    FAMILY: pair_set("notfall_kontakt emergency_contact next_kin"),
}
# People. A column `name` in a table of them has a person's name; so has `customer_name` in any table.
PEOPLE = word_set("""
    mere pere madre padre mae pai mutter vater alumno benutzer calisan cliente dipendente empleado
    empregado employe etudiant hasta klant kullanici medewerker mitarbeiter musteri ogrenci paciente
    persona personel personne schueler schuler usuario utente utilisateur utilizador adherent aluno
    anstalld anvandare eleve elev funcionario gebruiker kund lid medlem membro mitglied osoba pacjent
    paziente pessoa pracownik salarie socio studente uczen cust kunden insured policyholder holder
    enseignant lehrer docente maestro profesor professor professore leraar ogretmen nauczyciel larare
    asiakas potilas zakaznik uzivatel pacient alumna medico medecin arzt arts doktor doktorand account
    applicant attendee author beneficiary billing borrower buyer candidate caller child client coach
    contact contractor cardholder customer customeruser debtor doctor donor driver emergency employee
    father friend guardian guest husband invitee kunde landlord lead lecturer manager member mother nurse
    owner parent participant passenger patient payer people person physician player profile pupil
    recipient referrer registrant relative reporter resident respondent sender shipping signer speaker
    sponsor spouse staff student subscriber supervisor teacher tenant trainer traveler traveller user
    victim visitor volunteer voter wife witness worker editor poster seller renter approver organizer
    organiser signatory performer interviewer instructor tutor consultant lawyer judge defendant plaintiff
    claimant inspector researcher therapist surgeon dentist pilot courier cashier salesperson salesman
    salesrep representative operator commenter reviewer moderator writer creator heir testator mentor
    scholar inmate prisoner veteran citizen migrant brother sister son daughter aluna inquilino mieter
    vermieter bewerber patientin kundin lehrling azubi zeuge candidato candidat locataire huurder klient
    uzytkownik kandidaat kandydat najemca professeur tuteur parrain morador habitante vizinho ciudadano
    cidadao proprietario sindico apoderado residente titular acompanante responsable vendeur vendedor
    venditore verkaufer saelger saljare sprzedawca satici zamestnanec zamestnance osobe uzivatela korisnik
    radnik kupac pacijent ucenik ucitel ucitelj henkilo kayttaja opiskelija tyontekija jasen ugyfel vevo
    dolgozo szemely tanulo beteg angajat elevi persoana pelanggan pengguna pegawai karyawan siswa
    mahasiswa dosen pasien anggota nhanvien khachhang sinhvien benhnhan auteur autor autore forfatter
    forfattare yazar tekija eigentumer besitzer proprietaire dueno dono sahip ejer agare gaest gjest
    hospede huesped invitado ospite misafir captain pilote piloto fahrer chauffeur conducteur conductor
    motorista kierowca sofor kuljettaja ridic jezdec spieler joueur jugador jogador giocatore speler
    zawodnik elternteil enfant hijo figlio filho dziecko cocuk voogd tuteurlegal assure assicurato
    versicherter asegurado segurado betreuer penulis pengarang leerling
    """)
NAMES = word_set("name nombre nom nome naam namn ad adi isim navn nimi nev nume jmeno meno ime nama imie")
# A number of a house or a flat: numer_budynku, nr_lokalu, house_number.
STREETS = word_set(
    "street rue rua calle strasse straat via ulica ulice ulicy utca sokak cadde gata logradouro"
)
HOUSES = word_set("""
    house flat apartment apt building budynku lokalu mieszkania domu casa exterior interior civico hus
    haus huis maison door unit bina daire kapi ap apto apartamento byt popisne lakas
    """)
ORDINALS = word_set("no nr num numer numero number nummer numara cislo nro broj szam numar nomor")
# What a table of people says of each of them; of another table's rows the same words say nothing.
OF_PEOPLE = word_set("""
    note comment remark bio biography photo avatar picture portrait image foto zdjecie kep bild fotografia
    occupation profession beruf hobby hobbies interests bemerkung notiz nota notas observacion
    observaciones observacao observacoes commentaire remarque opmerking uwagi anteckning bemaerkning notat
    poznamka mobile race children cv resume curriculum lebenslauf documento document ci crm license
    licence contact contacto contato kontakt recapito residence location place plaats comune municipio
    commune gemeente gemeinde landmark landmarks apartamento apartment pass citizenship age weight height
    religion bloodtype moradia residencia tunnus kon komentarz kommentar commento comentario
    """)
MEASURES = word_set("""
    age alter edad idade eta leeftijd wiek yas alder ikasi weight height bmi altura estatura talla peso
    poids taille gewicht lengte waga wzrost vikt boy kilo waist medida cintura bonus children kids hijos
    filhos figli numfigli enfants kinder dzieci barn contact plat plata
    """)
SEXES = word_set(
    "sex gender sexe sexo sesso geschlecht geslacht cinsiyet plec kon kjonn ethnicity religion race"
)
# Names of these things are not names of people, though some have a person's in them.
THINGS = word_set("""
    company companies firm firma firme empresa azienda entreprise societe organisation organization
    institution agency compania compagnie bedrijf school hospital clinic centre center centro brand
    product category campaign event project title venue team club street road bank publisher manufacturer
    vendor supplier university college faculty department dealer restaurant airline studio label
    tradingname catena casa org butik butiken tillverkare hersteller fabricant fabricante fornecedor
    proveedor fornitore leverancier lieferant leverantor producent producer dostawca tedarikci fournisseur
    """)
# A number is personal by these meanings alone; a date by that of a birth; nothing in a smallint but a year.
NUMBERS = (BIRTH, ADDRESS, COORDINATES, PHONE, NUMBER, ACCOUNT, PAY)
NOT_IN_NUMBERS = word_set("address addresses addr adr street via rue cap")
# A name that ends so says something about the personal datum: email_verified, card_type, token_count.
ABOUT = word_set("""
    allowed at attempts backend campaign category choices class clicked color confirmed config count
    counter currency description domain enabled encoding event expiration expires expiry field flag footer
    format header height help icon id index kind label language layout length lifetime limit locale max
    message method min model on opened options order pattern placeholder plan policy port prefix protocol
    provider queue range rate regex required retries scope sent server settings size slug sort source
    status style subject suffix template timezone title total ttl type unit uri url uuid validated
    verified version visible width pk amount percent percentage enum code cost fee mode rule strategy
    timeout checksum decimals precision visibility theme product brand validator schema mask hint example
    permission purpose preference priority reason stage state step subnet gateway quality accuracy delay
    interval days minutes seconds hours frequency shape material avg average sum mean median bank
    """)
# One of these after the personal word takes it back, whatever follows: email_template_body, phone_type_other.
MORE_ABOUT = word_set(
    "backend bank campaign category config expiry field format label layout length limit model pattern "
    "placeholder policy protocol provider regex required rule schema server settings size strategy style "
    "template theme type validator version"
)
# One of these before takes it back: has_email, max_addresses, tipo_direccion, plantilla_correo.
BEFORE = word_set("""
    has have is are allow allows require requires required show shows hide hides enable enables use uses
    send sends count max min can should needs need force skip ignore verify include exclude auto total avg
    sum tipo tipus typ art anzahl aantal antal liczba rodzaj tip soort modele modelo modello formato
    plantilla gabarit statut szablon sjabloon vorlage mall format canal permite requiere exige afficher
    mostrar
    """)
# Tables of places and things: their towns and positions are nobody's.
PLACES = word_set("""
    store shop venue station warehouse city town country region state province district area airport
    branch building depot port stop hotel restaurant school hospital place poi site facility landmark
    sensor device weather stadium park gemeinde ort ville commune ciudad municipio comune cidade
    municipality county location zip zipcode postalcode postcode plz geo event stadt sehir il ilce miasto
    kommun kraj land pays pais paese ulke office zone route observation measurement metric earthquake
    """)
# Words that end as words for people do, "ee" among them (consignee, trustee), and are none.
NO_PEOPLE = word_set("""
    committee coffee degree guarantee fee tree three knee settee placeholder transparent pedigree filigree
    decree agree
    """)
# created_by is who did it; sorted_by is not.
NO_DOERS = word_set("""
    sorted grouped powered ordered filtered caused triggered followed supported replaced superseded
    blocked partitioned indexed limited divided multiplied incremented
    """)
