"""Calls of AWS that a neighbour tries, outside of TLS and inside, and what each is told."""

from __future__ import annotations

from collections.abc import Callable

from tests.attacks.neighbours import CREATE, FORM, HOST, Target, post

Attack = Callable[[Target], bytes]


def connecting(to: str) -> Attack:
    return lambda target: target.talk(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode())


def changed(target: Target, **headers: str) -> bytes:
    return target.tunnel(post({**target.signed(), **headers}))


def role(target: Target, token: str) -> bytes:
    return target.tunnel(post(target.signed(key="ASIAROLEROLEROLEROLE", secret="s" * 40, token=token)))


# Each with what the answer has to say; b"" where the connection ends without one.
OUTSIDE: dict[str, tuple[Attack, bytes]] = {
    "a form that a web page posts": (lambda t: t.talk(post({"Content-Type": "text/plain"})), b" 405 "),
    "a form with the right service": (lambda t: t.talk(post({"Content-Type": FORM})), b" 405 "),
    "a form to a whole address": (lambda t: t.talk(post({}, target=f"http://{HOST}/")), b" 405 "),
    "a form that is signed, but in the clear": (lambda t: t.talk(post(t.signed())), b" 405 "),
    "a GET that names a parameter": (lambda t: t.talk(b"GET /?Action=ListStacks HTTP/1.1\r\n\r\n"), b" 405 "),
    "an OPTIONS before it": (
        lambda t: t.talk(b"OPTIONS / HTTP/1.1\r\nOrigin: http://e.example\r\n\r\n"),
        b" 405 ",
    ),
    "HTTP/0.9": (lambda t: t.talk(b"GET /\r\n"), b""),
    "HTTP/2's beginning": (lambda t: t.talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), b"505 "),
    "a method of nobody's": (lambda t: t.talk(b"BREW / HTTP/1.1\r\n\r\n"), b" 501 "),
    "CONNECT to a foreign host": (connecting("evil.example:443"), b" 403 "),
    "CONNECT to a name that only begins like AWS's": (connecting(f"{HOST}.evil.example:443"), b" 403 "),
    "CONNECT to a name that only ends like AWS's": (connecting(f"evil-{HOST}:443"), b" 403 "),
    "CONNECT to a name with more in the middle": (
        connecting("s3.evil.us-east-1.amazonaws.com:443"),
        b" 403 ",
    ),
    "CONNECT to another port": (connecting(f"{HOST}:80"), b" 403 "),
    "CONNECT without a port": (connecting(HOST), b" 403 "),
    "CONNECT with a user": (connecting(f"user@{HOST}:443"), b" 403 "),
    "CONNECT in capitals": (connecting(f"{HOST.upper()}:443"), b" 403 "),
    "CONNECT with a dot at its end": (connecting(f"{HOST}.:443"), b" 403 "),
    "CONNECT to this machine": (connecting("127.0.0.1:443"), b" 403 "),
    "CONNECT to moto's own interface": (connecting("motoapi.amazonaws.com:443"), b" 403 "),
    "CONNECT to a bucket with a path": (connecting("a/b.s3.amazonaws.com:443"), b" 403 "),
    "CONNECT to the metadata of a machine": (connecting("169.254.169.254:443"), b" 403 "),
}
INSIDE: dict[str, tuple[Attack, bytes]] = {
    "no signature": (lambda t: t.tunnel(post({"Content-Type": FORM})), b"MissingAuthenticationToken"),
    "no signature, in JSON": (
        lambda t: t.tunnel(post({"X-Amz-Target": "AmazonSSM.GetParameters"}, '{"Names": ["/DATABASE_URL"]}')),
        b"MissingAuthenticationTokenException",
    ),
    "basic authentication": (lambda t: changed(t, Authorization="Basic YTpi"), b"IncompleteSignature"),
    "the key that was everybody's": (
        lambda t: t.tunnel(post(t.signed(key="sandbox" * 3))),
        b"InvalidClientTokenId",
    ),
    "another key": (lambda t: t.tunnel(post(t.signed(key="AKIAIOSFODNN7EXAMPLE"))), b"InvalidClientTokenId"),
    "a key that only begins rightly": (
        lambda t: t.tunnel(post(t.signed(key=t.key + "A"))),
        b"InvalidClientTokenId",
    ),
    "the right key, seen in a log, with no secret": (
        lambda t: t.tunnel(post(t.signed(secret="guessed"))),
        b"SignatureDoesNotMatch",
    ),
    "an empty signature": (
        lambda t: changed(t, Authorization=t.signed()["Authorization"].rpartition("=")[0] + "="),
        b"IncompleteSignature",
    ),
    "nothing but the date is signed": (
        lambda t: changed(
            t, Authorization=t.signed()["Authorization"].replace("content-type;host;x-amz-date", "x-amz-date")
        ),
        b"IncompleteSignature",
    ),
    "another body": (
        lambda t: t.tunnel(post(t.signed(), CREATE.replace("owned", "other"))),
        b"SignatureDoesNotMatch",
    ),
    "another path": (lambda t: t.tunnel(post(t.signed(), target="/other")), b"SignatureDoesNotMatch"),
    "another date": (lambda t: changed(t, **{"X-Amz-Date": "20200101T000000Z"}), b"SignatureDoesNotMatch"),
    "no date": (lambda t: changed(t, **{"X-Amz-Date": "now"}), b"IncompleteSignature"),
    "two of a header": (
        lambda t: t.tunnel(post({**t.signed(), "authorization": "AWS4-HMAC-SHA256 x"})),
        b"IncompleteSignature",
    ),
    "a presigned address": (
        lambda t: t.tunnel(f"GET {t.presigned()} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()),
        b"MissingAuthenticationToken",
    ),
    "a role that nobody took on": (lambda t: role(t, "token"), b"InvalidClientTokenId"),
    "a role by its identity elsewhere": (
        lambda t: t.tunnel(post({"Content-Type": FORM}, "Action=AssumeRoleWithWebIdentity&RoleArn=x")),
        b"MissingAuthenticationToken",
    ),
    "another Host": (lambda t: changed(t, Host="sts.us-east-1.amazonaws.com"), b" 421 "),
    "a Host with another port": (lambda t: changed(t, Host=f"{HOST}:80"), b" 421 "),
    "a whole address": (lambda t: t.tunnel(post(t.signed(), target=f"https://{HOST}/")), b" 400 "),
    "a second CONNECT": (lambda t: t.tunnel(f"CONNECT {HOST}:443 HTTP/1.1\r\n\r\n".encode()), b" 403 "),
    "another name in TLS": (lambda t: t.tunnel(post(t.signed()), name="sts.us-east-1.amazonaws.com"), b""),
    "no name in TLS": (lambda t: t.tunnel(post(t.signed()), name=None), b""),
    "two lengths": (
        lambda t: t.tunnel(post({**t.signed(), "Content-Length": "1", "content-length": "200"})),
        b"framing|Content-Length",
    ),
    "a length and chunks": (
        lambda t: t.tunnel(post({**t.signed(), "Content-Length": "1", "Transfer-Encoding": "chunked"})),
        b"framing",
    ),
    "a length that is negative": (lambda t: changed(t, **{"Content-Length": "-1"}), b"Content-Length"),
    "a body of 300 MB": (lambda t: changed(t, **{"Content-Length": "300000000"}), b" 413 "),
    "a body of 300 MB that nobody signed": (
        lambda t: t.tunnel(post({"Content-Length": "300000000"})),
        b"MissingAuthenticationToken",
    ),
    "a chunk of 300 MB": (
        lambda t: t.tunnel(post({**t.signed(), "Transfer-Encoding": "chunked"}, "11E1A300\r\n")),
        b" 413 ",
    ),
    "a head of 10 MB": (
        lambda t: t.tunnel(post({f"X-{each}": "x" * 60_000 for each in range(90)})),
        b" 431 |",
    ),
    "300 headers": (lambda t: t.tunnel(post({f"X-{each}": "x" for each in range(300)})), b" 431 "),
}
