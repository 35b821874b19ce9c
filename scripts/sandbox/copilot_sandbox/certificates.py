"""The sandbox's own certificate authority, and a certificate for each AWS host."""

from __future__ import annotations

import datetime as dt
import os
import socket
import ssl
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from copilot_sandbox.private import own_folder

_VALID = dt.timedelta(days=365)
_CLOCK_SKEW = dt.timedelta(hours=1)


class CertificateAuthority:
    """Signs certificates for the hosts that clients connect to.

    Each start creates a new authority. Its key never leaves memory. The hosts' key is in a file of mode 0600
    while Python's ssl loads it, because ssl reads keys only from files.
    """

    def __init__(self, folder: Path) -> None:
        own_folder(folder)
        self.certificate = folder / "ca.pem"
        self._chain = folder / "host.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._host_key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sandbox (this machine only)")])
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self._tunnel = threading.local()
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        authority = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        self.certificate.chmod(0o644)  # an image may have another user; here the folder keeps others out

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + _VALID)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )

    def accept(self, connection: socket.socket, host: str) -> ssl.SSLSocket:
        """Accept a client's TLS as `host`. Raises SSLError if the client names another host, or none."""
        self._tunnel.host = host
        return self.context(host).wrap_socket(connection, server_side=True)

    def _check_server_name(self, _: object, name: str | None, __: ssl.SSLContext) -> int | None:
        """Reject a server name (SNI) other than the tunnel's host, which `accept` set for this thread."""
        return None if name == self._tunnel.host else ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    def context(self, host: str) -> ssl.SSLContext:
        """Return the TLS settings to answer as `host`. Hosts with the same parent domain share one."""
        parent = host.partition(".")[2] or host
        with self._lock:
            if parent not in self._contexts:
                self._contexts[parent] = self._create_context(parent)
            return self._contexts[parent]

    def context_of_databases(self) -> ssl.SSLContext:
        """Return the TLS settings of the emulated RDS, whose clients may name any server or none."""
        with self._lock:
            context = self._create_context("rds.amazonaws.com")
        context.sni_callback = None
        return context

    def _create_context(self, parent: str) -> ssl.SSLContext:
        """Sign a certificate for `parent` and `*.parent`, and return TLS settings that use it."""
        names = [x509.DNSName(parent), x509.DNSName(f"*.{parent}")]
        # X.509 limits a common name to 64 characters. Clients compare only the alternative names.
        certificate = (
            self._builder(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, parent[:64])]), self._host_key.public_key()
            )
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = self._host_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ) + certificate.public_bytes(serialization.Encoding.PEM)
        # ssl loads a key only from a file, so the file exists just for that time, readable by this user only.
        self._chain.unlink(missing_ok=True)
        with os.fdopen(os.open(self._chain, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = self._check_server_name
        context.load_cert_chain(self._chain)
        self._chain.unlink()
        return context
